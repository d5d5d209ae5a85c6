// Encrypts with the credentials of the default chain, or of the OIDC provider with an STS endpoint:
// encrypt.js default|oidc
//
// With RENEWALS it goes on until the credentials were renewed so often.
'use strict';

const credentials = require('@alicloud/credentials');
const kms = require('@alicloud/kms20160120');
const openapi = require('@alicloud/openapi-client');

const env = process.env;

function credential(way) {
    if (way === 'default') {
        return new credentials.default();
    }
    const config = new credentials.Config({
        type: 'oidc_role_arn',
        roleArn: env.ROLE_ARN,
        oidcProviderArn: env.PROVIDER_ARN,
        oidcTokenFilePath: env.TOKEN_FILE,
        roleSessionName: 'node-1',
        stsEndpoint: env.STS_ENDPOINT,
    });
    return new credentials.default(config);
}

async function main() {
    const config = new openapi.Config({
        endpoint: env.ENDPOINT,
        protocol: env.SCHEME,
        regionId: 'cn-hangzhou',
    });
    config.credential = credential(process.argv[2]);
    const client = new kms.default(config);
    const plaintext = Buffer.from('identity').toString('base64');
    const renewals = Number(env.RENEWALS || 0);
    const sessions = new Set();
    const begun = Date.now();
    for (let calls = 0; calls < 3 || sessions.size <= renewals; calls += 1) {
        const request = new kms.EncryptRequest({ keyId: env.KEY, plaintext });
        const { ciphertextBlob } = await client.encrypt(request);
        const decrypted = await client.decrypt(new kms.DecryptRequest({ ciphertextBlob }));
        if (decrypted.plaintext !== plaintext) {
            throw new Error('another plaintext');
        }
        sessions.add((await config.credential.getCredential()).accessKeyId);
        if (Date.now() - begun > 60000) {
            throw new Error(`${sessions.size} sessions`);
        }
    }
    console.log('passed');
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
