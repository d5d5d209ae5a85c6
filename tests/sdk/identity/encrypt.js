// Encrypts with the credentials of the default chain: encrypt.js ENDPOINT KEY
'use strict';

const Credential = require('@alicloud/credentials').default;
const kms = require('@alicloud/kms20160120');
const openapi = require('@alicloud/openapi-client');

async function main() {
    const [endpoint, keyId] = process.argv.slice(2);
    const config = new openapi.Config({ endpoint, protocol: 'http', regionId: 'cn-hangzhou' });
    config.credential = new Credential();
    const client = new kms.default(config);
    const plaintext = Buffer.from('identity').toString('base64');
    for (let call = 0; call < 3; call += 1) {
        const encrypted = await client.encrypt(new kms.EncryptRequest({ keyId, plaintext }));
        const { ciphertextBlob } = encrypted;
        const decrypted = await client.decrypt(new kms.DecryptRequest({ ciphertextBlob }));
        if (decrypted.plaintext !== plaintext) {
            throw new Error('another plaintext');
        }
    }
    console.log('passed');
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
