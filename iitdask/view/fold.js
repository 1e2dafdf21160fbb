// Says what the selected distinctions contribute to Phi.
// Arguments: distinctions, note, whole (Phi in bits).
const escaped = (text) => String(text)
  .replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;")
const number = (x) => Number.isFinite(x) ? Number(x).toPrecision(6) : "-"
const {fold, phi, mechanism, fold_rank} = distinctions.data
const chosen = [...distinctions.selected.indices]
const bar = (share) => `<div style="background: var(--rule); height: 10px; max-width: 240px">`
  + `<div style="background: var(--relation); height: 10px; width: ${100 * share}%"></div></div>`
const lines = chosen.slice(-6).map((d) => {
  const share = whole > 0 ? Math.min(1, fold[d] / whole) : 0
  const drawn = Number.isNaN(fold_rank[d]) ? " (not among the bars)" : ""
  return `<p><b>${escaped(mechanism[d])}</b>${drawn}: ${number(fold[d])} bits,`
    + ` ${(100 * share).toPrecision(3)} % of Φ: φ_d ${number(phi[d])}`
    + ` and ${number(fold[d] - phi[d])} of relations</p>` + bar(share)
})
if (chosen.length > 1) {
  const sum = chosen.reduce((all, d) => all + fold[d], 0)
  const share = whole > 0 ? Math.min(1, sum / whole) : 0
  lines.push(`<p>The ${chosen.length} selected together: ${number(sum)} bits,`
    + ` ${(100 * share).toPrecision(3)} % of Φ</p>` + bar(share))
}
note.text = lines.join("") || "No distinction is selected."
