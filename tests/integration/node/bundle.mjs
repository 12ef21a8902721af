// Makes one file for browsers of a page's script.
import { build } from 'esbuild'

import { main } from './person.mjs'

await main({
  async page({ entry, output }) {
    await build({ entryPoints: [entry], outfile: output, bundle: true, format: 'esm', target: 'es2022', logLevel: 'error' })
  },
})
