export SSL_CERT_FILE=/etc/hsmgate/ca.pem
aliyun kms DescribeKey --KeyId alias/example --endpoint kms.example:8443
