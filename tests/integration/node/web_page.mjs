// A page of an application in another place: it shows a flag, and shows it again when it has changed.
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider'
import { ClientProviderEvents, OpenFeature } from '@openfeature/web-sdk'

const { url, key } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)))
const headers = [['Authorization', `Bearer ${key}`]]
const shown = document.querySelector('output')
const client = OpenFeature.getClient()
const show = () => { shown.textContent = client.getStringValue('announcement', 'none') }

client.addHandler(ClientProviderEvents.ConfigurationChanged, show)
await OpenFeature.setContext({ targetingKey: 'user-1' })
await OpenFeature.setProviderAndWait(new OFREPWebProvider({ baseUrl: url, headers, pollInterval: 0 }))
show()
