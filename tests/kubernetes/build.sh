#!/usr/bin/env bash
# build.sh DIR: a Kubernetes server and node, compiled into DIR/bin from Debian 12's source package (1.20.2).
#
# Debian packages kubectl alone, but the source behind it is the whole tree with everything it needs. Nothing but
# apt is asked for anything. One library in it is too old for Debian's compiler (it crashes on the first custom
# resource); the same library as Debian packages it takes its place. Five minutes, some 3 GB while it builds.
set -euo pipefail
programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)
mkdir -p "$1" && cd "$1"
if [ -e bin/complete ]; then exit 0; fi
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends \
  golang-go golang-github-modern-go-reflect2-dev dpkg-dev gcc libc6-dev make rsync jq >/dev/null

# The machine's own Debian archive, as sources, in lists of our own: the system's stay as they are.
rm -rf work && mkdir -p work/lists/partial work/cache/archives/partial work/home
sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >work/archive.sources
archive=(-o "Dir::Etc::sourcelist=$PWD/work/archive.sources" -o Dir::Etc::sourceparts=/dev/null
  -o "Dir::State::lists=$PWD/work/lists" -o "Dir::Cache=$PWD/work/cache"
  -o APT::Get::List-Cleanup=0 -o APT::Sandbox::User=root)
apt-get "${archive[@]}" -qq update
(cd work && apt-get "${archive[@]}" -qq source --download-only kubernetes && dpkg-source -x kubernetes_*.dsc tree)

library=github.com/modern-go/reflect2
rm -rf "work/tree/vendor/$library"
cp -r "/usr/share/gocode/src/$library" "work/tree/vendor/$library"
version=(COMMIT=debian TREE_STATE=archive VERSION=v1.20.2 MAJOR=1 MINOR=20)
printf 'KUBE_GIT_%s\n' "${version[@]}" >work/version
mkdir -p work/tree/.go/src/k8s.io
ln -s ../../.. work/tree/.go/src/k8s.io/kubernetes
(
  top=$PWD && cd work/tree
  env GOPATH="$PWD/.go" HOME="$top/work/home" CGO_ENABLED=0 GOPROXY=off GOFLAGS=-mod=vendor \
    KUBE_GIT_VERSION_FILE="$top/work/version" make WHAT="${programs[*]/#/cmd/}"
)
mkdir -p bin
for program in "${programs[@]}"; do mv "work/tree/_output/bin/$program" bin/; done
chmod -R u+w work && rm -rf work
touch bin/complete
