// What every page does when it is ready: names figures for those who cannot see them, keeps figures
// of a fixed shape within the window, sorts tables, notes whether a tap adds to a selection.
// Arguments: frames (figures of a fixed shape), sizes (width and height of each frame, pixels),
// plots (all figures), spoken (texts that are read out when they change), tables, sorts (field by
// which each is sorted first, the largest on top, or null).
const element = (model) => Bokeh.index.find_one(model)?.el
const within = () => {
  const main = document.querySelector("main"), style = getComputedStyle(main)
  return main.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)
}

const fit = () => {
  const narrow = within() < 640
  for (const plot of plots) {
    for (const part of plot.below) {
      if (part.type === "Legend") part.setv({ncols: narrow ? 2 : "auto"}, {sync: false})
    }
  }
  frames.forEach((plot, k) => {
    const [width, height] = sizes[k]
    const view = Bokeh.index.find_one(plot)
    const inside = view?.frame?.bbox?.width || plot.frame_width
    const beside = Math.max(24, (view?.el.offsetWidth ?? 0) - inside)
    const room = Math.max(160, Math.min(width, Math.floor(within() - beside)))
    const size = {frame_width: room, frame_height: Math.round(height * room / width)}
    if (size.frame_width !== plot.frame_width) plot.setv(size, {sync: false})
  })
}

const describe = (plot) => {
  const part = element(plot)
  if (!part) return
  const axes = [["Across", plot.below[0]], ["Upwards", plot.left[0]]]
    .filter(([, axis]) => axis?.visible && axis.axis_label?.trim?.())
    .map(([where, axis]) => `${where}: ${axis.axis_label}.`)
  part.setAttribute("role", "figure")
  part.setAttribute("aria-label", [`${plot.title?.text ?? "Figure"}.`, ...axes].join(" "))
}

for (const plot of plots) {
  describe(plot)
  plot.title?.properties.text.change.connect(() => describe(plot))
}
for (const block of spoken) element(block)?.setAttribute("role", "status")
tables.forEach((table, k) => {
  const grid = Bokeh.index.find_one(table)?.grid
  element(table)?.setAttribute("role", "group")
  element(table)?.setAttribute("aria-label", (table.name ?? "table").replaceAll("-", " "))
  if (!grid || sorts[k] === null) return
  const column = grid.getColumns().find((each) => each.field === sorts[k])
  if (!column) return
  grid.setSortColumn(column.id, false)
  grid.onSort.notify({grid, multiColumnSort: false, sortCol: column, sortAsc: false,
    sortCols: [{sortCol: column, sortAsc: false}]})
})
const keep = ({shiftKey, ctrlKey}) => {  // for tap.js: Bokeh does not tell it
  document.documentElement.dataset.keys = shiftKey || ctrlKey ? "held" : ""
}
document.addEventListener("pointerup", keep, {capture: true})
fit()
requestAnimationFrame(fit)  // what is beside a frame may have changed with it
let width = within()
new ResizeObserver(() => {
  if (Math.abs(within() - width) < 2) return
  width = within()
  fit()
  requestAnimationFrame(fit)
}).observe(document.querySelector("main"))
