package main

import (
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

// A client is a validator client that trusts the attested certificate and no other.
type client struct {
	url  string
	http *http.Client
}

func (d *demo) client() (*client, error) {
	data, err := os.ReadFile(d.certificate())
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("the saved certificate is not PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	return &client{d.url, &http.Client{Transport: transport, Timeout: 30 * time.Second}}, nil
}

// A refusedError is an answer other than a signature.
type refusedError struct {
	status  int
	message string
}

func (e *refusedError) Error() string { return fmt.Sprintf("%d %s", e.status, e.message) }

// sign asks for a signature as validator clients do.
func (c *client) sign(ctx context.Context, key bls.PublicKey, a attestation) (bls.Signature, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/api/v1/eth2/sign/"+key.String(), strings.NewReader(a.request()))
	if err != nil {
		return bls.Signature{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return bls.Signature{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return bls.Signature{}, err
	}
	var answer struct{ Signature, Error string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return bls.Signature{}, fmt.Errorf("status %d with %q: %w", resp.StatusCode, body, err)
	}
	if resp.StatusCode != http.StatusOK {
		return bls.Signature{}, &refusedError{resp.StatusCode, answer.Error}
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
