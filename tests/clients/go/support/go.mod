module hsmgate.test/support

go 1.23
