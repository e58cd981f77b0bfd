package dynamodblocal_test

import (
	"crypto/tls"
	"net"
	"testing"
)

func listenTLS(t *testing.T, certificates []tls.Certificate) net.Listener {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certificates, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	return l
}
