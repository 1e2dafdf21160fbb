// Rows of a table that are listed: those that hold a text and have a number to be sorted by.
// Arguments: source, search, fields (columns of the table), kinds (how each is written), first
// (field it is sorted by at first, or null).
const {data} = source
const shown = (field, k) => {
  const value = data[field][k]
  if (kinds[field] !== "number") return String(value)
  return Number.isFinite(value) ? value.toFixed(6) : "-"
}
const wanted = search.value_input.trim().toLowerCase()
const is_known = (k) => first === null || kinds[first] !== "number" || Number.isFinite(data[first][k])
return [...Array(source.get_length() ?? 0).keys()].filter((k) => is_known(k)
  && (wanted === "" || fields.some((field) => shown(field, k).toLowerCase().includes(wanted))))
