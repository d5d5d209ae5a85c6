// The Node SDKs behind one call, for tests/sdk/clients/node.py.
//
//   node driver.js SDK
//
// The first line of standard input is the gateway, every other one a call
// {"action", "parameters", "contexts": "text" or "objects"}; each is answered by a line {"answer"} or {"refused"}. Anything else that
// goes wrong ends the process. NODE_PATH names the directory with the SDKs.
'use strict';

const readline = require('node:readline');

const VERSION = '2016-01-20';

// Each entry makes, for a gateway, what `call` and `refusal` need to know about one SDK.
const SDKS = {
  'kms20160120': kms20160120,
  'openapi-client': openapiClient,
  'pop-core-get': (gateway) => popCore(gateway, 'GET'),
  'pop-core-post': (gateway) => popCore(gateway, 'POST'),
};

function kms20160120(gateway) {
  const kms = require('@alicloud/kms20160120');
  const { Config } = require('@alicloud/rpc-client');
  const client = new kms.default(new Config(settings(gateway)));
  return {
    async call(action, parameters) {
      const request = new kms[`${action}Request`]({});
      for (const [property, name] of Object.entries(request.constructor.names())) {
        request[property] = parameters[name];
      }
      expectNames(action, parameters, request.toMap());
      const method = action[0].toLowerCase() + action.slice(1);
      return (await client[method](request)).toMap();
    },
    // This SDK appends "Error" to every code and shows the status in the message alone.
    code: (error) => error.code.replace(/Error$/, ''),
    status: (error) => Number(/^\w*\.?\w*: code: (\d+)/.exec(error.message)[1]),
  };
}

function openapiClient(gateway) {
  const { default: Client, Config, OpenApiRequest, Params } = require('@alicloud/openapi-client');
  const { default: OpenApiUtil } = require('@alicloud/openapi-util');
  const { RuntimeOptions } = require('@alicloud/tea-util');
  const client = new Client(new Config(settings(gateway)));
  return {
    async call(action, parameters) {
      const params = new Params({
        action,
        version: VERSION,
        protocol: 'HTTPS',
        pathname: '/',
        method: 'POST',
        authType: 'AK',
        style: 'RPC',
        reqBodyType: 'formData',
        bodyType: 'json',
      });
      // As generated code does it where a request has a list.
      const hasList = Object.values(parameters).some(Array.isArray);
      const query = hasList ? OpenApiUtil.query(parameters) : parameters;
      const request = new OpenApiRequest({ query });
      return (await client.callApi(params, request, new RuntimeOptions({}))).body;
    },
    code: (error) => error.code,
    status: (error) => error.statusCode,
  };
}

function popCore(gateway, method) {
  const { RPCClient } = require('@alicloud/pop-core');
  const client = new RPCClient({
    accessKeyId: gateway.access_key_id,
    accessKeySecret: gateway.access_key_secret,
    endpoint: gateway.endpoint,
    apiVersion: VERSION,
    // In milliseconds. It gives up after 3 s, and a token creates an RSA key in seconds.
    opts: { timeout: 60_000 },
  });
  return {
    call: (action, parameters) => client.request(action, parameters, { method }),
    code: (error) => error.code,
    status: (error) => error.entry.response.statusCode,
  };
}

function settings(gateway) {
  return {
    accessKeyId: gateway.access_key_id,
    accessKeySecret: gateway.access_key_secret,
    endpoint: gateway.endpoint.replace(/^http:\/\//, ''),
    protocol: 'http',
    regionId: gateway.region,
    connectTimeout: 10_000,
    readTimeout: 60_000,
  };
}

function expectNames(action, given, sent) {
  const lost = Object.keys(given).filter((name) => !(name in sent));
  if (lost.length > 0) {
    throw new Error(`${action} does not know ${lost}`);
  }
}

// Programs make the JSON text of a context themselves. Lists are left to the SDK.
function contextsAsText(parameters) {
  const isContext = (value) => typeof value === 'object' && !Array.isArray(value);
  const text = (value) => (isContext(value) ? JSON.stringify(value) : value);
  return Object.fromEntries(
    Object.entries(parameters).map(([name, value]) => [name, text(value)]),
  );
}

async function reply(sdk, { action, parameters, contexts }) {
  try {
    const given = contexts === 'objects' ? parameters : contextsAsText(parameters);
    return { answer: await sdk.call(action, given) };
  } catch (error) {
    if (!error.data?.Code) {
      throw error;
    }
    return {
      refused: {
        code: sdk.code(error),
        status: sdk.status(error),
        message: error.data.Message,
        request_id: error.data.RequestId,
      },
    };
  }
}

async function main() {
  let sdk = null;
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (sdk === null) {
      sdk = SDKS[process.argv[2]](JSON.parse(line));
    } else {
      process.stdout.write(`${JSON.stringify(await reply(sdk, JSON.parse(line)))}\n`);
    }
  }
}

main();
