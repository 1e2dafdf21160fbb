// Rows of a table that are listed: those that hold a text and have a number to be sorted by.
// Arguments: source, search, fields (columns of the table), kinds (how each is written), first
// (field it is sorted by at first, or null).
const {data} = source
const is_number = (field) => ["number", "large"].includes(kinds[field])
const shown = (field, k) => {
  const value = data[field][k]
  if (!is_number(field)) return String(value)
  if (!Number.isFinite(value)) return "-"
  if (kinds[field] === "number") return value.toFixed(6)
  return Math.abs(value) >= 1e5 ? value.toExponential(3) : String(Number(value.toFixed(3)))
}
const wanted = search.value_input.trim().toLowerCase()
const is_known = (k) => first === null || !is_number(first) || Number.isFinite(data[first][k])
return [...Array(source.get_length() ?? 0).keys()].filter((k) => is_known(k)
  && (wanted === "" || fields.some((field) => shown(field, k).toLowerCase().includes(wanted))))
