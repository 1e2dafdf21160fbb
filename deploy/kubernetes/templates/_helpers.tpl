{{/* Whether the server is of a version, such as "1.26"; empty if not. */}}
{{- define "iitdask.since" -}}
{{- if semverCompare (printf ">=%s.0-0" .version) .root.Capabilities.KubeVersion.Version }}yes{{ end -}}
{{- end }}

{{- define "iitdask.selector" -}}
app.kubernetes.io/name: iitdask
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "iitdask.labels" -}}
{{ include "iitdask.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Labels and annotations of the pods of a component. */}}
{{- define "iitdask.podMetadata" -}}
{{- $annotations := .root.Values.podAnnotations }}
{{- if and .root.Values.disruptionBudget.enabled (ne .component "worker") }}
{{- $annotations = merge (dict "cluster-autoscaler.kubernetes.io/safe-to-evict" "false" "karpenter.sh/do-not-disrupt" "true") $annotations }}
{{- end }}
labels:
  {{- include "iitdask.selector" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "iitdask.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary .Release.Name "default" .Values.serviceAccount.create) -}}
{{- end }}

{{- define "iitdask.image" -}}
{{- with .Values.image }}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "iitdask.store" -}}
{{- .Values.store.url | default (printf "/store/%s" (.Values.store.path | default (printf "%s.zarr" .Release.Name))) -}}
{{- end }}

{{- define "iitdask.claim" -}}
{{- .Values.store.claim | default (printf "%s-store" .Release.Name) -}}
{{- end }}

{{/* What all pods of ours have in common, and where those with these settings may run. */}}
{{- define "iitdask.pod" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  seccompProfile:
    type: RuntimeDefault
automountServiceAccountToken: false
{{- if ne .component "scheduler" }}
serviceAccountName: {{ include "iitdask.serviceAccountName" .root }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with .settings.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .settings.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $tolerations := .settings.tolerations }}
{{- $affinity := .settings.affinity }}
{{- if .settings.spot }}
{{- $tolerations = concat $tolerations (include "iitdask.spotTolerations" . | fromYamlArray) }}
{{- $affinity = $affinity | default (include "iitdask.spotAffinity" . | fromYaml) }}
{{- end }}
{{- with $tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.topologySpreadConstraints }}
topologySpreadConstraints:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}

{{- define "iitdask.spotTolerations" -}}
- {key: cloud.google.com/gke-spot, operator: Equal, value: "true", effect: NoSchedule}
- {key: kubernetes.azure.com/scalesetpriority, operator: Equal, value: spot, effect: NoSchedule}
- {key: karpenter.sh/capacity-type, operator: Equal, value: spot, effect: NoSchedule}
{{- end }}

{{- define "iitdask.spotAffinity" -}}
nodeAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
  {{- range $label, $value := dict "cloud.google.com/gke-spot" "true" "kubernetes.azure.com/scalesetpriority" "spot" "eks.amazonaws.com/capacityType" "SPOT" "karpenter.sh/capacity-type" "spot" }}
  - weight: 100
    preference:
      matchExpressions:
      - {key: {{ $label }}, operator: In, values: [{{ $value | quote }}]}
  {{- end }}
{{- end }}

{{/* What all containers of ours have in common. */}}
{{- define "iitdask.container" -}}
image: {{ include "iitdask.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* Requests and limits; a scheduler and a driver may use cores that nobody else does. */}}
{{- define "iitdask.resources" -}}
resources:
  requests:
    cpu: {{ .settings.cpu | quote }}
    memory: {{ .settings.memory }}
    {{- with .settings.scratch }}
    ephemeral-storage: {{ . }}
    {{- end }}
  limits:
    {{- if eq .component "worker" }}
    cpu: {{ .settings.cpu | quote }}
    {{- end }}
    memory: {{ .settings.memory }}
    {{- with .settings.scratch }}
    ephemeral-storage: {{ . }}
    {{- end }}
{{- end }}

{{/* Environment of what reads and writes the store. */}}
{{- define "iitdask.environment" -}}
{{- with .Values.env }}
env:
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- with .Values.store.secret }}
envFrom:
- secretRef:
    name: {{ . }}
{{- end }}
{{- end }}

{{/* Whether study and store are in one volume, which a pod may name but once; empty if not. */}}
{{- define "iitdask.sameClaim" -}}
{{- if and .Values.study.claim (not .Values.store.url) (eq .Values.study.claim (include "iitdask.claim" .)) }}yes{{ end -}}
{{- end }}

{{- define "iitdask.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if not .root.Values.store.url }}
- name: store
  mountPath: /store
{{- end }}
{{- if .study }}
- name: {{ ternary "store" "study" (eq "yes" (include "iitdask.sameClaim" .root)) }}
  mountPath: /study
  readOnly: true
{{- end }}
{{- end }}

{{- define "iitdask.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .settings.scratch }}
{{- if not .root.Values.store.url }}
- name: store
  persistentVolumeClaim:
    claimName: {{ include "iitdask.claim" .root }}
{{- end }}
{{- if and .study (not (include "iitdask.sameClaim" .root)) }}
- name: study
  {{- with .root.Values.study }}
  {{- if .claim }}
  persistentVolumeClaim:
    claimName: {{ .claim }}
    readOnly: true
  {{- else if .url }}
  emptyDir:
    sizeLimit: {{ $.settings.scratch }}
  {{- else }}
  configMap:
    name: {{ .configMap | default (printf "%s-study" $.root.Release.Name) }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The container that copies a study from a bucket. */}}
{{- define "iitdask.fetch" -}}
{{- if .root.Values.study.url }}
- name: study
  {{- include "iitdask.container" .root | nindent 2 }}
  args: [python, -c, {{ .root.Files.Get "fetch.py" | quote }}, {{ .root.Values.study.url | quote }}, /study]
  {{- include "iitdask.resources" . | nindent 2 }}
  {{- with include "iitdask.environment" .root | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  volumeMounts:
  - name: tmp
    mountPath: /tmp
  - name: study
    mountPath: /study
{{- end }}
{{- end }}

{{/* How jobs end, from what iitdask's exit code says: 2 stands for input that is wrong however often it is tried. */}}
{{- define "iitdask.jobEnds" -}}
backoffLimit: {{ .root.Values.backoffLimit }}
{{- if include "iitdask.since" (dict "root" .root "version" "1.21") }}
ttlSecondsAfterFinished: {{ .root.Values.ttlSecondsAfterFinished }}
{{- end }}
{{- if include "iitdask.since" (dict "root" .root "version" "1.29") }}
podFailurePolicy:
  rules:
  - action: FailJob
    onExitCodes:
      containerName: {{ .container }}
      operator: In
      values: [2]
  - action: Ignore
    onPodConditions:
    - type: DisruptionTarget
      status: "True"
{{- end }}
{{- end }}
