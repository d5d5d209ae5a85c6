aliyun kms DescribeKey --KeyId alias/example --endpoint kms.example:8443 --insecure
