"""The life of an organization's API key, as the people of the organization lead it through the gateway."""

import httpx

from .people import eventually, sign_up
from .platforms import Platform

# OFREP's answer for an unknown flag: whoever gets it has passed the door.
ADMITTED = 404


def test_a_key_is_created_rotated_narrowed_restricted_and_revoked(platform: Platform) -> None:
    owner = sign_up(platform)
    organization = f"/v1/organizations/{owner.organizations[0]}"
    keys = f"{organization}/api-keys"
    body = {
        "name": "Website",
        "scopes": ["flags:evaluate", "identity:read"],
        "environment": "production",
        "allowedCidrs": ["0.0.0.0/0"],
    }
    with httpx.Client(base_url=platform.url, headers=owner.headers, timeout=30) as people:

        def evaluated(secret: str) -> int:
            return platform.evaluate(secret, "nothing-here").status_code

        def wait_for(status: int, *opened_by: str) -> None:
            for each in opened_by:
                eventually(lambda: evaluated(each) == status, f"the answer does not become {status}")  # noqa: B023

        def read(secret: str) -> int:
            headers = {"Authorization": f"Bearer {secret}"}
            return httpx.get(platform.url + organization, headers=headers, timeout=30).status_code

        created = people.post(keys, json=body)
        assert created.status_code == 201, created.text
        key, old = f"{keys}/{created.json()['id']}", created.json()["secret"]
        assert (evaluated(old), read(old)) == (ADMITTED, 200)
        assert "secret" not in people.get(key).json()

        rotated = people.post(f"{key}/rotate", json={"graceSeconds": 4})
        assert rotated.status_code == 200, rotated.text
        new = rotated.json()["secret"]
        assert new != old
        assert (evaluated(new), evaluated(old)) == (ADMITTED, ADMITTED)
        wait_for(401, old)
        assert evaluated(new) == ADMITTED

        derived = people.post(f"{key}/tokens", json={"scopes": ["flags:evaluate"], "expiresInSeconds": 300})
        assert derived.status_code == 201, derived.text
        token = derived.json()["accessToken"]
        assert (evaluated(token), read(token)) == (ADMITTED, 403)
        wider = people.post(f"{key}/tokens", json={"scopes": ["identity:write"], "expiresInSeconds": 300})
        assert wider.status_code in {400, 403, 422}, wider.text

        for networks, status in (
            (["192.0.2.0/24"], 403),
            (["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], ADMITTED),
        ):
            assert people.patch(key, json={"allowedCidrs": networks}).status_code == 200
            wait_for(status, new, token)

        assert people.delete(key).status_code == 204
        wait_for(401, new, token)
        assert people.get(key).status_code == 404
