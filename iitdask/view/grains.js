// Draws the units of the selected row around the network.
// Arguments: own (name of the table whose selection changed), rows (of each table), arcs, texts,
// shares, note, figure, and the sources complexes, systems, units.
const tables = {complexes, systems, units}
const escaped = (text) => String(text)
  .replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;")
const number = (x) => (x === null || Number.isNaN(x)) ? "-" : Number(x).toPrecision(6)
const chosen = tables[own].selected.indices
if (chosen.length) {
  const k = chosen[chosen.length - 1], data = tables[own].data
  for (const name of Object.keys(tables))
    if (name !== own && tables[name].selected.indices.length) tables[name].selected.indices = []
  const row = rows[own][k]
  if (row) {
    arcs.data = row.arcs
    texts.data = row.texts
    shares.data = {...shares.data, colour: row.shares}
  }
  const phi = `φ_s ${number(data.phi[k])} bits`
  if (own === "units") {
    const witness = data.witness[k]
      ? `; ${escaped(data.witness[k])} has ${number(data.witness_phi[k])} bits` : ""
    figure.title.text = "Constituents of the selected candidate"
    note.text = `<b>${escaped(data.candidate[k])}</b> is ${escaped(data.verdict[k])}: `
      + `${phi}${witness}; ${data.n_competitors[k]} competitors.`
  } else {
    figure.title.text = own === "complexes" ? "Units of the complex" : "Units of the selected system"
    note.text = `<b>${escaped(data.units[k])}</b>: ${phi}.`
  }
}
