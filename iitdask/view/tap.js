// Leaves of all that a tap has hit what it meant: the nearest dot; without dots what is drawn last.
// With a key that adds to a selection everything stays. Arguments: plot.
const {source, geometries} = cb_data
const hit = source.selected.indices
if (hit.length < 2 || document.documentElement.dataset.keys) return
const view = Bokeh.index.find_one(plot)
const away = (glyph, k) => {
  const place = ["x", "y"].map((axis) => {
    const value = source.data[glyph[axis].field]?.[k]
    return view.frame[`${axis}_scale`].compute(value) - geometries[`s${axis}`]
  })
  return Math.hypot(...place)
}
const dots = plot.renderers.filter((each) =>
  each.data_source === source && each.visible && each.glyph.type === "Scatter" && each.glyph.x.field)
const distances = hit.map((k) => Math.min(...dots.map(({glyph}) => away(glyph, k)).filter(Number.isFinite)))
const least = Math.min(...distances)
const on_top = Math.max(...hit.filter((_, k) => distances[k] === least))
source.selected.indices = [on_top]
