// What follows a selection: units light up, repertoires and relations follow.
// Arguments: distinctions, lights, members, rep, bars, figures, relations, shown, points, note,
// picker, drawn (how many relations are drawn when nothing is selected), about (text on what is
// drawn), total (relations in all, text, "" if not known), totals (the same of each distinction, "" if not known).
const escaped = (text) => String(text)
  .replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;")
const data = distinctions.data
const n = members.units.length
const chosen = distinctions.selected.indices
const picked = relations ? relations.selected.indices : []
const d = chosen.length ? chosen[chosen.length - 1] : -1
const number = (x) => (x === null || Number.isNaN(x)) ? "-" : Number(x).toPrecision(6)

const highest = (values) => Math.max(0, ...values.filter((x) => !Number.isNaN(x)))

const light = () => {
  const at = lights.data
  for (let i = 0; i < n; i++) {
    const mechanism = d >= 0 && members.mechanism[d * n + i]
    const cause = d >= 0 ? members.cause[d * n + i] : -1
    const effect = d >= 0 ? members.effect[d * n + i] : -1
    at.mechanism[i] = mechanism ? 1 : 0
    at.cause[i] = cause >= 0 ? 1 : 0
    at.effect[i] = effect >= 0 ? 1 : 0
    at.cause_state[i] = cause >= 0 && members.specified ? String(cause) : ""
    at.effect_state[i] = effect >= 0 && members.specified ? String(effect) : ""
    at.overlap[i] = 0
  }
  for (const r of picked) for (const i of relations.data.units[r]) at.overlap[i] = 1
  lights.change.emit()
}

const stateText = (side, code) => {
  const values = []
  for (let i = 0; i < n; i++) {
    if (members[side][d * n + i] < 0) continue
    values.push(code % rep.levels[i])
    code = Math.floor(code / rep.levels[i])
  }
  return values.join(values.some((v) => v > 9) ? "," : "")
}

const repertoire = (side) => {
  if (!rep) return
  const source = bars[side], figure = figures[side]
  const kinds = ["constrained", "partitioned", "unconstrained"]
  const out = {state: [], mark: [], constrained: [], partitioned: [], unconstrained: []}
  if (d >= 0) {
    const specified = data[side + "_state"][d]
    let kept = 0
    for (let r = rep["begin_" + side][d]; r < rep["begin_" + side][d + 1]; r++) {
      const name = stateText(side, rep["code_" + side][r])
      out.state.push(name)
      for (const kind of kinds) out[kind].push(rep[kind + "_" + side][r])
      kept += rep["constrained_" + side][r]
      const top = highest(kinds.map((kind) => rep[kind + "_" + side][r]))
      out.mark.push(name === specified ? top + 0.05 : NaN)
    }
    let all = 1
    for (let i = 0; i < n; i++) if (members[side][d * n + i] >= 0) all *= rep.levels[i]
    const most = out.state.length < all ? `, ${out.state.length} of ${all} states` : ""
    const title = side[0].toUpperCase() + side.slice(1) + " repertoire of "
    const whole = `${data.mechanism[d]} over ${data[side][d]}`
    const size = members.units.filter((_, i) => members[side][d * n + i] >= 0).length
    const short = `${data.order[d]} units over ${size} units`
    figure.title.text = title + (whole.length > 44 ? short : whole) + most
    const purview = data[side][d]
    figure.below[0].axis_label = `state of ${purview.length > 60 ? "the purview" : purview}`
    figure.x_range.factors = out.state
    const many = out.state.length * Math.max(...out.state.map((s) => s.length)) > 60
    figure.below[0].major_label_orientation = many ? Math.PI / 2 : 0
    figure.y_range.end = highest(kinds.flatMap((kind) => out[kind])) * 1.12 + 0.02
  }
  source.data = out
}

const sideText = (side) => {
  const part = escaped(data["partition_" + side][d])
  const tied = data["tied_" + side][d]
  const unit = members.specified ? " bits" : ""
  let formula = ""
  if (rep && members.specified) {
    const p = rep["likelihood_" + side][d], q = rep["likelihood_partitioned_" + side][d]
    const s = rep["selectivity_" + side][d]
    if (!Number.isNaN(p)) formula = ` = ${number(s)} × log₂(${number(p)} / ${number(q)})`
  }
  const state = members.specified ? ` in state ${escaped(data[side + "_state"][d])}` : ""
  const information = members.specified
    ? `; intrinsic information ${number(data["ii_" + side][d])} bits` : ""
  return `<b>${side}</b> ${escaped(data[side][d])}${state}: φ ${number(data["phi_" + side][d])}`
    + `${unit}${formula}${information}; partition ${part}`
    + (tied > 1 ? `; ${tied} purviews tie` : "")
}

const describe = () => {
  if (d < 0) {
    note.text = "No distinction is selected: choose one in the table, a plot or the list."
    return
  }
  let text = `<b>${escaped(data.mechanism[d])}</b>: φ_d ${number(data.phi[d])}${members.specified ? " bits" : ""}. `
    + `${sideText("cause")}. ${sideText("effect")}.`
  for (const r of picked.slice(0, 1)) {
    text = `Relation ${relations.data.rank[r]} of ${relations.data.degree[r]} distinctions `
      + `(${escaped(relations.data.mechanisms[r])}): φ_r ${number(relations.data.phi[r])} bits, `
      + `overlap ${escaped(relations.data.overlap[r])}.<br>` + text
  }
  note.text = text
}

const relate = () => {
  if (!relations) return
  const listed = relations.data.rank.length
  const largest = [...Array(Math.min(listed, drawn)).keys()]
  let which = largest, title = `The ${largest.length} largest relations`
  const of = total === "" ? "" : ` of ${total}`
  let said = `Drawn are the ${which.length} largest${of}.`
  if (listed === 1) [title, said] = ["The only relation", "Drawn is the only relation listed."]
  if (picked.length) {
    which = picked
    title = "The selected relation"
    said = `Drawn is relation ${relations.data.rank[picked[0]]}${of}.`
  } else if (d >= 0) {
    const own = [...Array(listed).keys()].filter((r) => relations.data.members[r].includes(d))
    const name = data.mechanism[d]
    const all = totals[d] === "" ? "" : `; ${totals[d]} in all`
    const count = `${own.length} of the ${listed} listed ${own.length === 1 ? "involves" : "involve"}`
    said = `${count} ${name}${all}.`
    if (own.length) {
      which = own.slice(0, drawn)
      title = `${which.length === 1 ? "Relation" : "Relations"} of ${name}`
      if (which.length < own.length) said += ` Drawn are the ${which.length} largest.`
    } else said += ` Drawn are the ${which.length} largest of all.`
  }
  shown.indices = [...which]
  figures.relations.title.text = title.length > 44 ? "Relations of one distinction" : title
  about.text = escaped(said)
  points.data.lit = points.data.name.map((_, k) => chosen.includes(k) ? 1 : 0)
  points.change.emit()
}

light()
repertoire("cause")
repertoire("effect")
describe()
relate()
if (d >= 0 && picker.value !== String(d)) picker.value = String(d)
