// Saves a figure as it is seen. Arguments: plot, file.
const layer = Bokeh.index.find_one(plot).export("svg")
layer.to_blob().then((blob) => {
  const link = document.createElement("a")
  link.href = URL.createObjectURL(blob)
  link.download = file
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10000)
})
