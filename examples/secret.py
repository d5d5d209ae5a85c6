"""Reads a secret with the vendor's client (pip install alibabacloud-secretsmanager-client-v2).

The settings are in the environment or in the file `secretsmanager.properties`: docs/secrets.md. The client
keeps the value in memory and refreshes it every hour.
"""

import sys

from alibabacloud_secretsmanager_client_v2.secret_manager_cache_client_builder import (
    SecretManagerCacheClientBuilder,
)

client = SecretManagerCacheClientBuilder.new_client()
try:
    print(client.get_secret_value(sys.argv[1]))
finally:
    client.close()
