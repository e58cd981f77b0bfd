package rehearsal

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"holdfast/enclave/ethereum/bls"
)

// A Client is a validator client with the certificate that the key holder gave it.
type Client struct {
	url     string
	key     bls.PublicKey
	network *Network
	http    *http.Client
}

// Client plays the validator client of the holder's folder. It trusts the holder's authority and, beyond what
// validator clients do, no certificate but the one that verify has kept in the file named attested.
func (h *Holder) Client(m *Machine, network *Network, attested string) (*Client, error) {
	files := h.run.Path(h.folder, "clients", clientName)
	pair, err := tls.LoadX509KeyPair(files+"/"+clientName+".pem", files+"/"+clientName+".key")
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(files + "/ca.pem")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("the client's ca.pem has no certificate")
	}
	text, err := os.ReadFile(h.run.Path(attested))
	if err != nil {
		return nil, err
	}
	leaf, _ := pem.Decode(text)
	if leaf == nil {
		return nil, errors.New("the attested certificate is not PEM")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{pair},
		VerifyConnection: func(s tls.ConnectionState) error {
			if !bytes.Equal(s.PeerCertificates[0].Raw, leaf.Bytes) {
				return errors.New("the signer's certificate is not the attested one")
			}
			return nil
		},
	}}
	return &Client{m.URL, h.Key, network, &http.Client{Transport: transport, Timeout: 30 * time.Second}}, nil
}

// Close closes the connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A RefusedError is an answer other than a signature.
type RefusedError struct {
	Status  int
	Message string
}

func (e *RefusedError) Error() string { return fmt.Sprintf("%d %s", e.Status, e.Message) }

// Sign asks for a signature as validator clients do, and verifies it.
func (c *Client) Sign(ctx context.Context, d Duty) (bls.Signature, error) {
	signature, err := c.ask(ctx, d)
	if err == nil && !bls.Verify(c.key, d.signingRoot(c.network), signature) {
		err = fmt.Errorf("signature %v of %v does not verify under %v", signature, d, c.key)
	}
	return signature, err
}

func (c *Client) ask(ctx context.Context, d Duty) (bls.Signature, error) {
	var none bls.Signature
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/api/v1/eth2/sign/"+c.key.String(), strings.NewReader(d.request(c.network)))
	if err != nil {
		return none, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return none, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return none, err
	}
	var answer struct{ Signature, Error string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return none, fmt.Errorf("status %d with %q: %w", resp.StatusCode, body, err)
	}
	if resp.StatusCode != http.StatusOK {
		return none, &RefusedError{resp.StatusCode, answer.Error}
	}
	return parseSignature(answer.Signature)
}

func parseSignature(s string) (bls.Signature, error) {
	var sig bls.Signature
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok || len(digits) != 2*len(sig) {
		return sig, fmt.Errorf("signature %q is not 0x and %d hex digits", s, 2*len(sig))
	}
	_, err := hex.Decode(sig[:], []byte(digits))
	return sig, err
}

// Root returns what a duty's signature is over, in hexadecimal digits.
func (c *Client) Root(d Duty) string {
	root := d.signingRoot(c.network)
	return hex.EncodeToString(root[:])
}
