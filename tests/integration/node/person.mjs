// A person with a browser: the test that started this script lends it, line by line.
import { createInterface } from 'node:readline'

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

/** Asks the test for something; returns its answer. */
export async function ask(request) {
  process.stdout.write(`${JSON.stringify({ visit: String(request) })}\n`)
  const { value } = await answers.next()
  return JSON.parse(value)
}

/** Sends the person to an address; returns the address at which they left the pages. */
export async function visit(address) {
  return new URL(await ask(address))
}

/** Runs the flow that the command line names with what it is set to, and prints what it returns. */
export async function main(flows) {
  const [flow, setting] = process.argv.slice(2)
  const result = await flows[flow](JSON.parse(setting))
  process.stdout.write(`${JSON.stringify(result ?? {})}\n`)
  process.exit(0)
}

/** What a promise rejects with. */
export async function refusal(promise) {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('nothing was refused')
}
