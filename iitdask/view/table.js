// Follows a search in a table, or saves its rows as they are listed.
// Arguments: table, search, fields (its columns), titles, total (rows there are in all, text),
// note, file (name of the file), save (true: write the file).
if (save) {
  const {data} = table.source, rows = Bokeh.index.find_one(table).data.index
  const cell = (text) => /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text
  const lines = [...rows].map((k) => fields.map((field) => cell(String(data[field][k]))))
  const text = [titles.map(cell), ...lines].map((line) => line.join(",") + "\r\n").join("")
  const link = document.createElement("a")
  link.href = URL.createObjectURL(new Blob(["\ufeff", text], {type: "text/csv"}))
  link.download = file
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10000)
} else {
  const {filter} = table.view
  if (cb_obj === search) filter.change.emit()
  const every = table.source.get_length() ?? 0, listed = [...filter.compute_indices(table.source)].length
  const number = (count) => count.toLocaleString("en")
  const of = search.value_input.trim() === "" ? "" : ` of the ${number(every)}`
  note.text = `${number(listed)}${of} listed` + (total === "" ? "" : `; ${total} in all`)
}
