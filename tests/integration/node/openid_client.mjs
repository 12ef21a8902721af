// The flows of an application that uses openid-client.
import assert from 'node:assert/strict'
import * as client from 'openid-client'
import { main, refusal, visit } from './person.mjs'

const SCOPE = 'openid profile email offline_access identity:read'

function authentication({ clientSecret, method }) {
  if (clientSecret == null) return client.None()
  return method === 'client_secret_post' ? client.ClientSecretPost(clientSecret) : client.ClientSecretBasic(clientSecret)
}

async function discover(setting, algorithm = 'oidc') {
  const metadata = { id_token_signed_response_alg: setting.algorithm }
  const config = await client.discovery(new URL(setting.issuer), setting.clientId, metadata, authentication(setting), {
    algorithm,
    execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks],
  })
  assert.equal(config.serverMetadata().issuer, setting.issuer)
  return config
}

async function authorize(config, setting, { isPushed = false, proof } = {}) {
  const verifier = client.randomPKCECodeVerifier()
  const state = client.randomState()
  const nonce = client.randomNonce()
  const parameters = {
    redirect_uri: setting.redirectUri,
    scope: SCOPE,
    state,
    nonce,
    max_age: '3600',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  }
  const address = isPushed
    ? await client.buildAuthorizationUrlWithPAR(config, parameters, { DPoP: proof })
    : client.buildAuthorizationUrl(config, parameters)
  const checks = {
    pkceCodeVerifier: verifier,
    expectedState: state,
    expectedNonce: nonce,
    idTokenExpected: true,
    maxAge: 3600,
  }
  return { address, landed: await visit(address), checks }
}

async function signIn(config, setting, options = {}) {
  const { landed, checks } = await authorize(config, setting, options)
  const tokens = await client.authorizationCodeGrant(config, landed, checks, undefined, { DPoP: options.proof })
  assert.equal(JSON.parse(atob(tokens.id_token.split('.')[0])).alg, setting.algorithm)
  return tokens
}

await main({
  async code(setting) {
    const config = await discover(setting)
    const tokens = await signIn(config, setting)
    assert.equal(tokens.token_type, 'bearer')
    assert.deepEqual(new Set(tokens.scope.split(' ')), new Set(SCOPE.split(' ')))
    const { sub } = tokens.claims()
    const about = await client.fetchUserInfo(config, tokens.access_token, sub)
    assert.equal(about.email_verified, true)

    const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token)
    assert.notEqual(refreshed.refresh_token, tokens.refresh_token)
    assert.equal(refreshed.claims().sub, sub)
    const narrowed = await client.refreshTokenGrant(config, refreshed.refresh_token, { scope: 'openid' })
    assert.equal(narrowed.scope, 'openid')

    if (setting.clientSecret != null) {
      const active = await client.tokenIntrospection(config, narrowed.access_token)
      assert.deepEqual([active.active, active.sub, active.client_id], [true, sub, setting.clientId])
    }
    await client.tokenRevocation(config, narrowed.refresh_token)
    const ended = await refusal(client.refreshTokenGrant(config, narrowed.refresh_token))
    assert.deepEqual([ended.status, ended.error], [400, 'invalid_grant'])
    if (setting.clientSecret != null) {
      const inactive = await client.tokenIntrospection(config, narrowed.access_token)
      assert.deepEqual(inactive, { active: false })
    }
    return { subject: sub, email: about.email }
  },

  async reuse(setting) {
    const config = await discover(setting)
    const first = await signIn(config, setting)
    const second = await client.refreshTokenGrant(config, first.refresh_token)
    const same = await client.refreshTokenGrant(config, first.refresh_token)
    assert.equal(same.refresh_token, second.refresh_token, 'a lost answer is given again')
    const third = await client.refreshTokenGrant(config, second.refresh_token)
    const reused = await refusal(client.refreshTokenGrant(config, first.refresh_token))
    assert.deepEqual([reused.status, reused.error], [400, 'invalid_grant'])
    const family = await refusal(client.refreshTokenGrant(config, third.refresh_token))
    assert.equal(family.error, 'invalid_grant')
    const code = await authorize(config, setting)
    await client.authorizationCodeGrant(config, code.landed, code.checks)
    const replayed = await refusal(client.authorizationCodeGrant(config, code.landed, code.checks))
    assert.deepEqual([replayed.status, replayed.error], [400, 'invalid_grant'])
  },

  async bound(setting) {
    const config = await discover(setting)
    const keys = await client.randomDPoPKeyPair('ES256')
    const proof = client.getDPoPHandle(config, keys)
    const tokens = await signIn(config, setting, { isPushed: true, proof })
    assert.equal(tokens.token_type, 'dpop')
    const { sub } = tokens.claims()
    const about = await client.fetchUserInfo(config, tokens.access_token, sub, { DPoP: proof })
    assert.equal(about.sub, sub)
    const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP: proof })
    const address = new URL(`${setting.issuer}/v1/organizations`)
    const called = await client.fetchProtectedResource(
      config, refreshed.access_token, address, 'GET', undefined, undefined, { DPoP: proof },
    )
    assert.equal(called.status, 200)
    const stranger = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))
    if (setting.clientSecret == null) {
      const stolen = client.refreshTokenGrant(config, refreshed.refresh_token, undefined, { DPoP: stranger })
      assert.equal((await refusal(stolen)).error, 'invalid_grant')
    }
    const refused = await refusal(client.fetchUserInfo(config, tokens.access_token, sub, { DPoP: stranger }))
    assert.equal(refused.status ?? refused.cause?.status, 401)
  },

  async credentials(setting) {
    const config = await discover(setting, 'oauth2')
    const tokens = await client.clientCredentialsGrant(config, { scope: 'identity:read' })
    assert.deepEqual([tokens.scope, tokens.refresh_token, tokens.id_token], ['identity:read', undefined, undefined])
    const active = await client.tokenIntrospection(config, tokens.access_token)
    assert.deepEqual([active.active, active.sub], [true, setting.clientId])
    await client.tokenRevocation(config, tokens.access_token)
    assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, false)
    const wider = await refusal(client.clientCredentialsGrant(config, { scope: 'usage:write' }))
    assert.deepEqual([wider.status, wider.error], [400, 'invalid_scope'])
    const wrong = await discover({ ...setting, clientSecret: 'wrong' }, 'oauth2')
    const unknown = await refusal(client.clientCredentialsGrant(wrong))
    assert.deepEqual([unknown.status, unknown.cause[0].scheme], [401, 'basic'])
  },

  async device(setting) {
    const config = await discover(setting)
    const started = await client.initiateDeviceAuthorization(config, { scope: SCOPE })
    const polling = client.pollDeviceAuthorizationGrant(config, started, undefined, {
      signal: AbortSignal.timeout(60_000),
    })
    await visit(started.verification_uri_complete)
    const tokens = await polling
    const about = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
    return { email: about.email }
  },

  async logout(setting) {
    const config = await discover(setting)
    const tokens = await signIn(config, setting)
    const address = client.buildEndSessionUrl(config, {
      id_token_hint: tokens.id_token,
      post_logout_redirect_uri: setting.signedOutUri,
      state: 'a b/c&d',
    })
    const landed = await visit(address)
    assert.equal(landed.origin + landed.pathname, setting.signedOutUri)
    assert.equal(landed.searchParams.get('state'), 'a b/c&d')
  },
})
