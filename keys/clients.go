package main

import (
	"fmt"
	"io"
	"net"

	"holdfast/enclave/secret"
	"holdfast/keys/holder"
)

// A setup is what a validator client's configuration must say to reach the signer.
type setup struct {
	name    string
	url     string // https://HOST:PORT
	address string // HOST:PORT
	path    string // the folder of the files on the client's machine
}

// The files of a client.
func (s setup) certificate() string { return s.name + ".pem" }
func (s setup) key() string         { return s.name + ".key" }
func (s setup) archive() string     { return s.name + ".p12" }
func (s setup) password() string    { return s.name + ".password" }
func (s setup) trust() string       { return "ca.pem" }
func (s setup) trustStore() string  { return "ca.p12" }

// definitionsFile is what Lighthouse calls it.
const definitionsFile = "validator_definitions.yml"

// keysURL is where clients find out the public keys.
func (s setup) keysURL() string { return s.url + "/api/v1/eth2/publicKeys" }

// definitions is the file in which Lighthouse lists its validators (Lighthouse book,
// "Remote Signing with Web3Signer"). It has the archive's password in it, since
// Lighthouse takes it from nowhere else.
func (s setup) definitions(validators []holder.Validator, password secret.Bytes) []byte {
	const size = 512
	out := append(make([]byte, 0, size*(len(validators)+1)), "---\n"...)
	for _, v := range validators {
		out = fmt.Appendf(out, `- enabled: true
  voting_public_key: "%v"
  type: web3signer
  url: "%s"
  root_certificate_path: %s/%s
  request_timeout_ms: 12000
  client_identity_path: %s/%s
  client_identity_password: "`, v.PublicKey, s.url, s.path, s.trust(), s.path, s.archive())
		out = append(append(out, password.Reveal()...), "\"\n"...)
	}
	return out
}

// How each validator client is told, in the order of what is printed. The flags are
// those of the clients' own references; Prysm's for TLS came with its pull request
// 17160.
var instructions = []struct {
	client string
	write  func(io.Writer, setup)
}{
	{"lighthouse", func(w io.Writer, s setup) {
		fmt.Fprintf(w, "into the validators folder, %s as it is; every new key needs an entry there\n", definitionsFile)
	}},
	{"teku", func(w io.Writer, s setup) {
		fmt.Fprintf(w, `--validators-external-signer-url=%s
--validators-external-signer-public-keys=external-signer
--validators-external-signer-keystore=%[2]s/%[3]s
--validators-external-signer-keystore-password-file=%[2]s/%[4]s
--validators-external-signer-truststore=%[2]s/%[5]s
--validators-external-signer-truststore-password-file=%[2]s/%[4]s
`, s.url, s.path, s.archive(), s.password(), s.trustStore())
	}},
	{"prysm", func(w io.Writer, s setup) {
		fmt.Fprintf(w, `--validators-external-signer-url=%s
--validators-external-signer-public-keys=%s
--validators-external-signer-ca-cert=%[3]s/%[4]s
--validators-external-signer-client-cert=%[3]s/%[5]s
--validators-external-signer-client-key=%[3]s/%[6]s
`, s.url, s.keysURL(), s.path, s.trust(), s.certificate(), s.key())
		fmt.Fprintf(w, "(a Prysm that does not know the last three needs the tunnel below)\n")
	}},
	{"lodestar", func(w io.Writer, s setup) {
		fmt.Fprintf(w, "--externalSigner.url=%s\n--externalSigner.fetch\n", tunnelURL)
	}},
	{"nimbus", func(w io.Writer, s setup) {
		fmt.Fprintf(w, "--web3-signer-url=%s\n", tunnelURL)
	}},
	{"vero", func(w io.Writer, s setup) {
		fmt.Fprintf(w, "--remote-signer-url=%s\n", tunnelURL)
	}},
}

// tunnelURL is where a tunnel on the client's own machine listens.
const tunnelURL = "http://127.0.0.1:9000"

// Lodestar, Nimbus and Vero present no certificate. A tunnel beside them does, so
// that no signer need take whoever comes.
func (s setup) tunnel(w io.Writer) {
	check, host := "checkHost", s.address
	if name, _, err := net.SplitHostPort(s.address); err == nil {
		host = name
	}
	if net.ParseIP(host) != nil {
		check = "checkIP"
	}
	fmt.Fprintf(w, `
tunnel, for what presents no certificate itself (stunnel, on the same machine):
  [holdfast]
  client = yes
  accept = 127.0.0.1:9000
  connect = %s
  CAfile = %s/%s
  verifyChain = yes
  %s = %s
  cert = %[2]s/%[6]s
  key = %[2]s/%[7]s
  sslVersionMin = TLSv1.3
`, s.address, s.path, s.trust(), check, host, s.certificate(), s.key())
}

func validatorClients() (names []string) {
	for _, i := range instructions {
		names = append(names, i.client)
	}
	return names
}

func isValidatorClient(name string) bool {
	for _, i := range instructions {
		if i.client == name {
			return true
		}
	}
	return false
}

// describe prints the lines for one validator client, or for all.
func (s setup) describe(w io.Writer, only string) {
	for _, i := range instructions {
		if only == "" || only == i.client {
			fmt.Fprintf(w, "\n%s:\n", i.client)
			i.write(&indenter{w, true}, s)
		}
	}
	if only != "lighthouse" && only != "teku" {
		s.tunnel(w)
	}
}

// An indenter writes two spaces before each line.
type indenter struct {
	w     io.Writer
	start bool
}

func (i *indenter) Write(data []byte) (int, error) {
	for _, c := range data {
		if i.start {
			if _, err := io.WriteString(i.w, "  "); err != nil {
				return 0, err
			}
		}
		if _, err := i.w.Write([]byte{c}); err != nil {
			return 0, err
		}
		i.start = c == '\n'
	}
	return len(data), nil
}
