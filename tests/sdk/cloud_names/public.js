// The official SDK for Node. By itself it finds no endpoint, so it is given the name, without a port.
'use strict';

const assert = require('node:assert');
const { default: Client, EncryptRequest, DecryptRequest } = require('@alicloud/kms20160120');
const { Config } = require('@alicloud/rpc-client');

const gateway = JSON.parse(process.env.HSMGATE_DEV_JSON);
const kms = new Client(
  new Config({
    accessKeyId: gateway.access_key_id,
    accessKeySecret: gateway.access_key_secret,
    regionId: gateway.region,
    endpoint: 'kms.cn-hangzhou.aliyuncs.com',
  }),
);

async function main() {
  const plaintext = Buffer.from("under the cloud's name").toString('base64');
  const sealed = await kms.encrypt(new EncryptRequest({ keyId: 'alias/demo', plaintext }));
  const { ciphertextBlob } = sealed;
  const opened = await kms.decrypt(new DecryptRequest({ ciphertextBlob }));
  assert.strictEqual(opened.plaintext, plaintext);
  console.log('node passed');
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
