// Writes config/schema.json from the options as src/config/schema.ts describes them.
// With --check: writes nothing, and exits 1 where the file is out of date.
import { readFileSync, writeFileSync } from 'node:fs'
import { jsonSchema } from '../src/config/schema.ts'

const file = new URL('../config/schema.json', import.meta.url)
const text = `${JSON.stringify(jsonSchema(), undefined, 2)}\n`

if (!process.argv.includes('--check')) writeFileSync(file, text)
else if (readFileSync(file, 'utf8') !== text) {
  console.error('config/schema.json is out of date: run node scripts/schema.mjs')
  process.exit(1)
}
