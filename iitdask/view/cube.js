// What follows a choice of axes or a selection in the cube of a sweep.
// Arguments: dims (name, labels), values (by variable), units (by variable), words (status,
// message, reason: texts and where they stand), picks (variable, x, y, over, rest), heat, rows,
// columns (sources), figures, mapper, labels (what the ticks of each figure say), note, redraw,
// lines, ends (of the parallel axes, or null), most (lines that are drawn).
const escaped = (text) => String(text)
  .replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;")
const steps = []
for (let k = dims.length - 1, step = 1; k >= 0; k--) {
  steps[k] = step
  step *= dims[k].labels.length
}
const place = (name) => dims.findIndex((dim) => dim.name === name)
if (picks.y && picks.x.value === picks.y.value) {
  // An axis is drawn once: the other one takes the first that is free.
  const other = cb_obj === picks.y ? picks.x : picks.y
  other.value = dims.find((dim) => dim.name !== cb_obj.value).name
  return
}
const x = place(picks.x.value)
const y = picks.y ? place(picks.y.value) : -1
dims.forEach((_, k) => {
  if (picks.rest[k]) picks.rest[k].visible = k !== x && k !== y
})
if (picks.over) picks.over.visible = dims.some((_, k) => k !== x && k !== y && picks.rest[k]?.value === "all")
const nx = dims[x].labels.length, ny = y < 0 ? 1 : dims[y].labels.length
const variable = picks.variable.value
const numbers = values[variable]

// Cells of the axes that are not drawn: one, or all of them together.
let rest = [0]
dims.forEach((dim, k) => {
  if (k === x || k === y) return
  const pick = picks.rest[k]?.value ?? "all"
  const every = pick === "all" ? [...dim.labels.keys()] : [dim.labels.indexOf(pick)]
  rest = rest.flatMap((at) => every.map((i) => at + i * steps[k]))
})
const offset = (i, j) => i * steps[x] + (y < 0 ? 0 : j * steps[y])
const summed = (i, j) => {
  let total = 0, most = -Infinity, count = 0
  for (const at of rest) {
    const value = numbers[offset(i, j) + at]
    if (!Number.isFinite(value)) continue
    total += value
    most = Math.max(most, value)
    count += 1
  }
  if (!count) return NaN
  return picks.over?.value === "largest" ? most : total / count
}

if (redraw) {
  const out = {x: [], y: [], value: [], xname: [], yname: []}
  for (let j = 0; j < ny; j++) for (let i = 0; i < nx; i++) {
    out.x.push(i)
    out.y.push(j)
    out.value.push(summed(i, j))
    out.xname.push(dims[x].labels[i])
    out.yname.push(y < 0 ? "" : dims[y].labels[j])
  }
  const known = out.value.filter((value) => Number.isFinite(value))
  mapper.low = Math.min(0, ...known.slice(0, 1), known.reduce((a, b) => Math.min(a, b), 0))
  mapper.high = known.reduce((a, b) => Math.max(a, b), mapper.low) || 1
  labels.data = {x: [dims[x].labels], y: [y < 0 ? [""] : dims[y].labels]}
  heat.data = out
  heat.selected.indices = [Math.max(0, out.value.indexOf(mapper.high))]
  const unit = units[variable] ? ` (${units[variable]})` : ""
  const what = rest.length > 1 ? `, ${picks.over.value} of ${rest.length} points` : ""
  if (figures.heat) {
    figures.heat.title.text = `${variable}${unit}${what}`
    figures.heat.x_range.end = nx - 0.5
    figures.heat.y_range.end = ny - 0.5
    figures.heat.below[0].axis_label = dims[x].name
    figures.heat.left[0].axis_label = y < 0 ? "" : dims[y].name
  }
  for (const [figure, axis, count] of [[figures.rows, x, nx], [figures.columns, y, ny]]) {
    if (!figure || axis < 0) continue
    figure.x_range.end = count - 0.5
    figure.renderers[0].visible = dims[axis].ordered  // a line would say that there is an order
    figure.y_range.start = mapper.low
    figure.y_range.end = mapper.high * 1.08
    figure.below[0].axis_label = dims[axis].name
    figure.left[0].axis_label = `${variable}${unit}`
  }
}

const held = (k) => picks.rest[k] && k !== x && k !== y ? picks.rest[k].value : "all"
const coordinates = (point) => dims.map((dim, k) => Math.floor(point / steps[k]) % dim.labels.length)
if (lines && redraw) {
  const at = [...numbers.keys()].filter((k) => Number.isFinite(numbers[k]))
  at.sort((a, b) => numbers[a] - numbers[b])
  const drawn = at.slice(-most)
  const low = Math.min(0, drawn.length ? numbers[at[0]] : 0), high = drawn.length ? numbers[at[at.length - 1]] : 1
  const span = high - low || 1
  const out = {xs: [], ys: [], value: [], alpha: [], point: [], said: []}
  for (const k of drawn) {
    const here = coordinates(k)
    const heights = here.map((i, axis) => dims[axis].labels.length > 1 ? i / (dims[axis].labels.length - 1) : 0.5)
    const fits = here.every((i, axis) => held(axis) === "all" || dims[axis].labels[i] === held(axis))
    out.xs.push([...dims.keys(), dims.length])
    out.ys.push([...heights, (numbers[k] - low) / span])
    out.value.push(numbers[k])
    out.alpha.push(fits ? 0.85 : 0.12)
    out.point.push(k)
    out.said.push(here.map((i, axis) => `${dims[axis].name} ${dims[axis].labels[i]}`).join(", "))
  }
  lines.data = out
  ends.data = {...ends.data, text: [`${Number(low.toPrecision(4))}`, `${Number(high.toPrecision(4))}`, `${variable}`]}
  figures.parallel.title.text = at.length > most
    ? `The ${most.toLocaleString("en")} points of largest ${variable}, of ${at.length.toLocaleString("en")}`
    : `Every point with a number: ${at.length.toLocaleString("en")}`
}

const chosen = heat.selected.indices.length ? heat.selected.indices[0] : 0
const i = chosen % nx, j = Math.floor(chosen / nx)
const profile = (count, at) => ({
  place: [...Array(count).keys()],
  value: [...Array(count).keys()].map((k) => heat.data.value[at(k)]),
  mark: [...Array(count).keys()].map((k) => (at(k) === chosen ? 1 : 0)),
})
rows.data = profile(nx, (k) => j * nx + k)
if (columns) columns.data = profile(ny, (k) => k * nx + i)
if (figures.rows) {
  const where = y < 0 ? "" : ` at ${dims[y].name} ${dims[y].labels[j]}`
  figures.rows.title.text = `Along ${dims[x].name}${where}`
}
if (figures.columns) {
  figures.columns.title.text = y < 0 ? "" : `Along ${dims[y].name} at ${dims[x].name} ${dims[x].labels[i]}`
}

const here = [`${dims[x].name} ${dims[x].labels[i]}`]
if (y >= 0) here.push(`${dims[y].name} ${dims[y].labels[j]}`)
dims.forEach((dim, k) => {
  if (k !== x && k !== y) here.push(`${dim.name} ${held(k)}`)
})
let text = `<b>${escaped(here.join(", "))}</b>`
if (rest.length === 1) {
  const at = offset(i, j) + rest[0]
  for (const name of Object.keys(values)) {
    const value = values[name][at]
    if (Number.isFinite(value)) {
      const unit = units[name] ? ` ${units[name]}` : ""
      text += `<br>${escaped(name)}: ${Number(value.toPrecision(6))}${escaped(unit)}`
    }
  }
  for (const name of Object.keys(words)) {
    const said = words[name].texts[words[name].at[at]]
    if (said) text += `<br>${escaped(name)}: ${escaped(said)}`
  }
} else {
  const value = heat.data.value[chosen]
  const shown = Number.isFinite(value) ? Number(value.toPrecision(6)) : "no numbers"
  const unit = Number.isFinite(value) ? units[picks.variable.value] : ""
  text += `<br>${escaped(picks.over.value)} of ${rest.length} points: ${shown} ${escaped(unit)}`
}
note.text = text
