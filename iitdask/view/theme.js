// Draws figures in the colours of the page's theme.
// Arguments: models, names (of a colour property of each), light, dark (its colours), specified
// (whether the property is the specification of a glyph's colour).
const paint = () => {
  const colours = document.documentElement.dataset.theme === "dark" ? dark : light
  models.forEach((model, k) => { model[names[k]] = specified[k] ? {value: colours[k]} : colours[k] })
}
document.addEventListener("theme", paint)
paint()
