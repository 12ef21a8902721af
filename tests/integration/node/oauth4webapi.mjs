// The flows of an application that uses oauth4webapi.
import assert from 'node:assert/strict'
import * as oauth from 'oauth4webapi'
import { main, refusal, visit } from './person.mjs'

const SCOPE = 'openid profile email offline_access identity:read'
const options = { [oauth.allowInsecureRequests]: true }

function authentication({ clientSecret, method }) {
  if (clientSecret == null) return oauth.None()
  return method === 'client_secret_post' ? oauth.ClientSecretPost(clientSecret) : oauth.ClientSecretBasic(clientSecret)
}

async function discover(setting, algorithm = 'oidc') {
  const issuer = new URL(setting.issuer)
  const response = await oauth.discoveryRequest(issuer, { algorithm, ...options })
  const server = await oauth.processDiscoveryResponse(issuer, response)
  const client = { client_id: setting.clientId, id_token_signed_response_alg: setting.algorithm }
  return { server, client, auth: authentication(setting) }
}

async function signIn({ server, client, auth }, setting, { isPushed = false, DPoP } = {}) {
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()
  const nonce = oauth.generateRandomNonce()
  let parameters = new URLSearchParams({
    response_type: 'code',
    client_id: setting.clientId,
    redirect_uri: setting.redirectUri,
    scope: SCOPE,
    state,
    nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  })
  if (isPushed) {
    const response = await oauth.pushedAuthorizationRequest(server, client, auth, parameters, { DPoP, ...options })
    const pushed = await oauth.processPushedAuthorizationResponse(server, client, response)
    parameters = new URLSearchParams({ client_id: setting.clientId, request_uri: pushed.request_uri })
  }
  const landed = await visit(`${server.authorization_endpoint}?${parameters}`)
  const answer = oauth.validateAuthResponse(server, client, landed, state)
  const response = await oauth.authorizationCodeGrantRequest(
    server, client, auth, answer, setting.redirectUri, verifier, { DPoP, ...options },
  )
  const tokens = await oauth.processAuthorizationCodeResponse(server, client, response, {
    expectedNonce: nonce,
    requireIdToken: true,
  })
  await oauth.validateApplicationLevelSignature(server, response, options)
  return tokens
}

async function refresh({ server, client, auth }, token, further = {}) {
  const response = await oauth.refreshTokenGrantRequest(server, client, auth, token, { ...further, ...options })
  return oauth.processRefreshTokenResponse(server, client, response)
}

async function introspect({ server, client, auth }, token) {
  const response = await oauth.introspectionRequest(server, client, auth, token, options)
  return oauth.processIntrospectionResponse(server, client, response)
}

async function revoke({ server, client, auth }, token) {
  await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, auth, token, options))
}

async function userInfo({ server, client }, tokens, further = {}) {
  const { sub } = oauth.getValidatedIdTokenClaims(tokens)
  const response = await oauth.userInfoRequest(server, client, tokens.access_token, { ...further, ...options })
  return oauth.processUserInfoResponse(server, client, sub, response)
}

/** Verifies an access token as a resource server does that follows RFC 9068. */
async function asResource({ server }, token, setting, header = {}) {
  const request = new Request(`${setting.issuer}/v1/organizations`, {
    headers: { authorization: `Bearer ${token}`, ...header },
  })
  return oauth.validateJwtAccessToken(server, request, setting.issuer, options)
}

await main({
  async code(setting) {
    const wired = await discover(setting)
    const tokens = await signIn(wired, setting)
    const about = await userInfo(wired, tokens)
    assert.equal(about.email_verified, true)
    const claims = await asResource(wired, tokens.access_token, setting)
    assert.deepEqual([claims.sub, claims.client_id], [about.sub, setting.clientId])

    const refreshed = await refresh(wired, tokens.refresh_token)
    assert.notEqual(refreshed.refresh_token, tokens.refresh_token)
    if (setting.clientSecret != null) assert.equal((await introspect(wired, refreshed.refresh_token)).active, true)
    await revoke(wired, refreshed.refresh_token)
    if (setting.clientSecret != null) assert.equal((await introspect(wired, refreshed.access_token)).active, false)
    const ended = await refusal(refresh(wired, refreshed.refresh_token))
    assert.ok(ended instanceof oauth.ResponseBodyError)
    assert.deepEqual([ended.status, ended.error], [400, 'invalid_grant'])
    return { subject: about.sub, email: about.email }
  },

  async reuse(setting) {
    const wired = await discover(setting)
    const first = await signIn(wired, setting)
    const second = await refresh(wired, first.refresh_token)
    const both = await Promise.all([1, 2].map(() => refresh(wired, second.refresh_token)))
    assert.equal(both[0].refresh_token, both[1].refresh_token, 'exactly one successor')
    assert.equal((await refusal(refresh(wired, first.refresh_token))).error, 'invalid_grant')
    assert.equal((await refusal(refresh(wired, both[0].refresh_token))).error, 'invalid_grant')
  },

  async bound(setting) {
    const wired = await discover(setting)
    const DPoP = oauth.DPoP(wired.client, await oauth.generateKeyPair('ES256'))
    const tokens = await signIn(wired, setting, { isPushed: true, DPoP })
    assert.equal(tokens.token_type, 'dpop')
    assert.equal((await userInfo(wired, tokens, { DPoP })).sub, oauth.getValidatedIdTokenClaims(tokens).sub)
    const refreshed = await refresh(wired, tokens.refresh_token, { DPoP })
    const address = new URL(`${setting.issuer}/v1/organizations`)
    const called = await oauth.protectedResourceRequest(
      refreshed.access_token, 'GET', address, undefined, undefined, { DPoP, ...options },
    )
    assert.equal(called.status, 200)
    const unproven = await refusal(refresh(wired, refreshed.refresh_token))
    assert.equal(unproven.error, setting.isBound ? 'invalid_dpop_proof' : 'invalid_grant')
  },

  async credentials(setting) {
    const wired = await discover(setting, 'oauth2')
    const ask = async (auth, scope) => {
      const response = await oauth.clientCredentialsGrantRequest(
        wired.server, wired.client, auth, new URLSearchParams({ scope }), options,
      )
      return oauth.processClientCredentialsResponse(wired.server, wired.client, response)
    }
    const tokens = await ask(wired.auth, 'identity:read')
    const claims = await asResource(wired, tokens.access_token, setting)
    assert.deepEqual([claims.sub, claims.scope], [setting.clientId, 'identity:read'])
    await revoke(wired, tokens.access_token)
    assert.equal((await introspect(wired, tokens.access_token)).active, false)
    const wrong = await refusal(ask(authentication({ ...setting, clientSecret: 'wrong' }), 'identity:read'))
    assert.ok(wrong instanceof oauth.WWWAuthenticateChallengeError)
    assert.deepEqual([wrong.status, wrong.cause[0].scheme], [401, 'basic'])
  },

  async device(setting) {
    const wired = await discover(setting)
    const { server, client, auth } = wired
    const begun = await oauth.deviceAuthorizationRequest(
      server, client, auth, new URLSearchParams({ scope: SCOPE }), options,
    )
    const started = await oauth.processDeviceAuthorizationResponse(server, client, begun)
    const poll = async () => {
      const response = await oauth.deviceCodeGrantRequest(server, client, auth, started.device_code, options)
      return oauth.processDeviceCodeResponse(server, client, response)
    }
    const early = await refusal(poll())
    assert.deepEqual([early.status, early.error], [400, 'authorization_pending'])
    const hasty = await refusal(poll())
    assert.equal(hasty.error, 'slow_down')
    await visit(started.verification_uri_complete)
    await new Promise((resolve) => setTimeout(resolve, (started.interval + 5.5) * 1000))
    const tokens = await poll()
    return { email: (await userInfo(wired, tokens)).email }
  },

  async logout(setting) {
    const wired = await discover(setting)
    const tokens = await signIn(wired, setting)
    const address = new URL(wired.server.end_session_endpoint)
    address.search = new URLSearchParams({
      id_token_hint: tokens.id_token,
      post_logout_redirect_uri: setting.signedOutUri,
    })
    assert.equal((await visit(address)).href, setting.signedOutUri)
  },
})
