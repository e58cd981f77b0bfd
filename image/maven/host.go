package maven

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

// rootFiles are where distributions keep the roots that the host trusts, as crypto/x509 knows them.
var rootFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

// trustStore makes a Java trust store of the roots that the host trusts. The hash of what is fetched
// decides; this is so that a repository can be reached at all, through a company's gateway too.
func trustStore() ([]byte, error) {
	files := rootFiles
	if named := os.Getenv("SSL_CERT_FILE"); named != "" {
		files = []string{named}
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if roots := parseRoots(data); len(roots) > 0 {
			return pkcs12.Modern.EncodeTrustStore(roots, trustPassword)
		}
	}
	return nil, errNoRoots
}

// parseRoots leaves out what is not a certificate that Go understands, as crypto/x509 does.
func parseRoots(data []byte) []*x509.Certificate {
	var roots []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if root, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			roots = append(roots, root)
		}
	}
	return roots
}

// proxyOptions turns the usual proxy variables into Java's properties.
func proxyOptions(env func(string) string) []string {
	var options []string
	for _, scheme := range []string{"http", "https"} {
		u, err := url.Parse(cmp.Or(env(scheme+"_proxy"), env(strings.ToUpper(scheme)+"_PROXY")))
		if err != nil || u.Hostname() == "" {
			continue
		}
		options = append(options, "-D"+scheme+".proxyHost="+u.Hostname(), "-D"+scheme+".proxyPort="+cmp.Or(u.Port(), "80"))
	}
	if direct := cmp.Or(env("no_proxy"), env("NO_PROXY")); direct != "" && len(options) > 0 {
		options = append(options, "-Dhttp.nonProxyHosts="+directHosts(direct))
	}
	return options
}

// directHosts turns "a,.b" into Java's "a|*.b". Networks in CIDR notation have no counterpart.
func directHosts(list string) string {
	var hosts []string
	for host := range strings.SplitSeq(list, ",") {
		host = strings.TrimSpace(host)
		if _, _, err := net.ParseCIDR(host); err == nil || host == "" {
			continue
		}
		if strings.HasPrefix(host, ".") {
			host = "*" + host
		}
		hosts = append(hosts, host)
	}
	return strings.Join(hosts, "|")
}

var errNoRoots = errors.New("no trusted roots on this host (hint: install its CA certificates, or set SSL_CERT_FILE)")
