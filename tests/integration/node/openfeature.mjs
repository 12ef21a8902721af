// The OpenFeature SDKs of npm with the OFREP providers for servers and for browsers. Every answer is shown to the test.
import { OFREPProvider } from '@openfeature/ofrep-provider'
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider'
import { OpenFeature as Server } from '@openfeature/server-sdk'
import { ClientProviderEvents, OpenFeature as Web } from '@openfeature/web-sdk'
import { EventSource } from 'eventsource'

import { ask, main } from './person.mjs'

const PATIENCE = 20_000
const answers = []
const streams = []

async function recordingFetch(request, options) {
  const response = await fetch(request, options)
  const body = await response.clone().text()
  answers.push({
    method: request.method,
    url: request.url,
    status: response.status,
    contentType: response.headers.get('content-type'),
    ifNoneMatch: request.headers.get('if-none-match'),
    etag: response.headers.get('etag'),
    body,
  })
  return response
}

// What a browser brings along and Node.js does not yet.
globalThis.EventSource = class extends EventSource {
  constructor(address) {
    super(address)
    const stream = { address, opened: 0, errors: [] }
    streams.push(stream)
    this.addEventListener('open', () => { stream.opened += 1 })
    this.addEventListener('error', (event) => stream.errors.push(event.code ?? null))
  }
}

async function until(isSo) {
  const end = Date.now() + PATIENCE
  while (!isSo()) {
    if (Date.now() > end) throw new Error(`waited in vain for ${isSo}`)
    await new Promise((done) => setTimeout(done, 10))
  }
}

const brief = ({ value, variant, reason, errorCode }) => ({ value, variant, reason, errorCode })

async function server({ url, key }) {
  const headers = [['Authorization', `Bearer ${key}`]]
  const provider = new OFREPProvider({ baseUrl: url, headers, fetchImplementation: recordingFetch })
  await Server.setProviderAndWait(provider)
  const client = Server.getClient()
  const ada = { targetingKey: 'user-1', email: 'ada@example.com' }
  return {
    boolean: brief(await client.getBooleanDetails('on-off', false)),
    text: brief(await client.getStringDetails('greeting', 'nothing')),
    number: brief(await client.getNumberDetails('retries', 0)),
    object: brief(await client.getObjectDetails('theme', {})),
    targeted: brief(await client.getBooleanDetails('beta', false, ada)),
    others: brief(await client.getBooleanDetails('beta', true, { ...ada, email: 'ada@elsewhere.com' })),
    unknown: brief(await client.getBooleanDetails('nowhere', true)),
    mismatch: brief(await client.getNumberDetails('greeting', 7)),
    answers,
  }
}

async function started({ url, key }, context) {
  const headers = [['Authorization', `Bearer ${key}`]]
  const options = { baseUrl: url, headers, fetchImplementation: recordingFetch, cacheMode: 'disabled', pollInterval: 0 }
  await Web.setContext(context)
  await Web.setProviderAndWait(new OFREPWebProvider(options))
  return Web.getClient()
}

async function web(setting) {
  const ada = { targetingKey: 'user-1', email: 'ada@example.com' }
  const client = await started(setting, ada)
  const first = {
    boolean: brief(client.getBooleanDetails('on-off', false)),
    number: brief(client.getNumberDetails('retries', 0)),
    targeted: brief(client.getBooleanDetails('beta', false)),
    disabled: brief(client.getBooleanDetails('retired', false)),
    unknown: brief(client.getBooleanDetails('nowhere', true)),
  }
  await Web.setContext({ ...ada })
  const again = brief(client.getBooleanDetails('beta', false))
  await Web.setContext({ ...ada, email: 'ada@elsewhere.com' })
  return { first, again, others: brief(client.getBooleanDetails('beta', true)), answers }
}

async function live(setting) {
  const client = await started(setting, { targetingKey: 'user-1' })
  await until(() => streams[0]?.opened === 1)
  await new Promise((done) => setTimeout(done, 200)) // whatever came with opening is over
  const before = answers.length
  const seen = []
  client.addHandler(ClientProviderEvents.ConfigurationChanged, (event) => seen.push(event.flagsChanged))
  const values = [client.getStringValue('announcement', 'none')]
  const asked = Date.now()
  for (const wanted of ['second', 'third']) {
    await ask(`change ${wanted}`)
    await until(() => client.getStringValue('announcement', 'none') === wanted)
    values.push(wanted)
  }
  return { values, seen, fetches: answers.length - before, milliseconds: Date.now() - asked, streams, answers }
}

async function revoked(setting) {
  await started(setting, { targetingKey: 'user-1' })
  await until(() => streams[0]?.opened === 1)
  await ask('revoke')
  await until(() => streams[0].errors.includes(401))
  await until(() => answers.at(-1).status === 401)
  return { streams, statuses: answers.map((answer) => answer.status), answers }
}

await main({ server, web, live, revoked })
