package kmstest

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxSkew is how far a signature's time may be off.
const maxSkew = 5 * time.Minute

// authenticate returns who signed a request (Signature Version 4, AWS IAM user
// guide, "Create a signed AWS API request"), or the failure that AWS answers.
func (k *KMS) authenticate(r *http.Request, body []byte) (*caller, *failure) {
	header, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return nil, &failure{code: "MissingAuthenticationTokenException", message: "Missing Authentication Token"}
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	signed := strings.Split(fields["SignedHeaders"], ";")
	stamp := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", stamp)
	if len(scope) != 5 || err != nil || !slices.IsSorted(signed) || !signsEnough(r, signed) {
		return nil, &failure{code: "IncompleteSignatureException", message: "Authorization header is incomplete."}
	}
	k.mu.Lock()
	found := k.callers[scope[0]]
	k.mu.Unlock()
	if found == nil || r.Header.Get("X-Amz-Security-Token") != found.SessionToken {
		return nil, &failure{code: "UnrecognizedClientException", message: "The security token included in the request is invalid."}
	}
	now := k.options.Now()
	if !now.Before(found.Expiration) {
		return nil, &failure{code: "ExpiredTokenException", message: "The security token included in the request is expired"}
	}
	if off := now.Sub(at); off > maxSkew || off < -maxSkew {
		return nil, &failure{code: "InvalidSignatureException", message: "Signature expired: " + stamp + " is not within 5 min. of " + now.UTC().Format("20060102T150405Z")}
	}
	want := []string{stamp[:8], k.options.Region, "kms", "aws4_request"}
	if !slices.Equal(scope[1:], want) {
		return nil, &failure{code: "InvalidSignatureException", message: "Credential should be scoped to " + strings.Join(want, "/")}
	}
	canonical := canonicalRequest(r, signed, body)
	if got := sign(found.SecretAccessKey, stamp, want, canonical); subtle.ConstantTimeCompare([]byte(got), []byte(fields["Signature"])) != 1 {
		// As AWS does, which is why a client must not repeat this message.
		return nil, &failure{code: "InvalidSignatureException", message: "The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method.\n\nThe Canonical String for this request should have been\n'" + canonical + "'"}
	}
	return found, nil
}

// signsEnough tells whether the headers that matter are signed.
func signsEnough(r *http.Request, signed []string) bool {
	for _, name := range []string{"host", "x-amz-date", "x-amz-target", "x-amz-security-token"} {
		if (name == "host" || r.Header.Get(name) != "") && !slices.Contains(signed, name) {
			return false
		}
	}
	return true
}

// canonicalRequest is that of a POST to / without a query.
func canonicalRequest(r *http.Request, signed []string, body []byte) string {
	var b strings.Builder
	b.WriteString("POST\n/\n\n")
	for _, name := range signed {
		values := slices.Clone(r.Header.Values(name))
		if name == "host" {
			values = []string{r.Host}
		}
		for i, value := range values {
			values[i] = strings.Join(strings.Fields(value), " ")
		}
		b.WriteString(name + ":" + strings.Join(values, ",") + "\n")
	}
	sum := sha256.Sum256(body)
	b.WriteString("\n" + strings.Join(signed, ";") + "\n" + hex.EncodeToString(sum[:]))
	return b.String()
}

func sign(secretKey, stamp string, scope []string, canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", stamp, strings.Join(scope, "/"), hex.EncodeToString(sum[:])}, "\n")
	key := []byte("AWS4" + secretKey)
	for _, part := range append(slices.Clone(scope), text) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}
