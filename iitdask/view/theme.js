// Draws figures in the colours of the page's theme.
// Arguments: models, names (of a colour property of each), light, dark (its colours), specified
// (whether the property is the specification of a glyph's colour).
const paint = () => {
  const colours = document.documentElement.dataset.theme === "dark" ? dark : light
  models.forEach((model, k) => {
    const colour = specified[k] ? {value: colours[k]} : colours[k]
    model.setv({[names[k]]: colour}, {sync: false})  // a server need not know this reader's theme
  })
}
document.addEventListener("theme", paint)
paint()
