package unseal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// A Retry says whether the same call may succeed later.
type Retry int

// The answers. The zero value does not promise anything.
const (
	// Never: what was asked or answered is malformed, and will be again.
	Never Retry = iota

	// Slowly: somebody must change something first, a policy or the key's state.
	Slowly

	// Soon: a busy or unreachable KMS, or credentials that are about to be renewed.
	Soon
)

// String returns "never", "slowly" or "soon".
func (r Retry) String() string { return [...]string{"never", "slowly", "soon"}[r] }

// A KMSError is a call to KMS that gave no key. It holds no secret: of what KMS
// says only a refusal's reason is kept, because the message about a signature
// that does not match quotes the session token.
type KMSError struct {
	Operation string // "Decrypt" or "GenerateDataKey"
	Key       string // ARN
	Code      string // of AWS, "AccessDeniedException" for example; empty where no answer came
	RequestID string // of AWS, for CloudTrail and support; may be empty
	Retry     Retry

	detail string
	again  bool // at once, with the same credentials
	cause  error
}

// Error says which call failed, why, and what to do.
func (e *KMSError) Error() string {
	out := "kms: " + e.Operation + " with " + e.Key + ": "
	if e.Code != "" {
		out += e.Code
		if e.RequestID != "" {
			out += " (request " + e.RequestID + ")"
		}
		if e.detail != "" {
			out += ": "
		}
	}
	return out + e.detail
}

// Unwrap returns the cause where it is not AWS's answer: that of a broken
// connection, [ErrCredentials], or the end of a context.
func (e *KMSError) Unwrap() error { return e.cause }

// protocolError is an answer that KMS does not give.
type protocolError string

func (e protocolError) Error() string { return string(e) }

// An attestError is a module that made no document.
type attestError struct{ cause error }

func (e attestError) Error() string { return "no attestation document: " + e.cause.Error() }

const accessDenied = "AccessDeniedException"

// codes are AWS's errors that call for more than their name.
var codes = map[string]struct {
	retry  Retry
	again  bool
	detail string
}{
	accessDenied: {retry: Slowly}, // described by refusal

	"ThrottlingException":        {Soon, true, "too many requests"},
	"LimitExceededException":     {Soon, true, "too many requests"},
	"KMSInternalException":       {Soon, true, ""},
	"DependencyTimeoutException": {Soon, true, ""},
	"KeyUnavailableException":    {Soon, true, ""},

	"ExpiredTokenException": {Soon, false, "the credentials have expired: the parent has not refreshed them"},

	"UnrecognizedClientException": {Slowly, false, "AWS does not know the credentials that the parent brought"},
	"InvalidSignatureException":   {Slowly, false, "the credentials that the parent brought do not belong together, or the clock is five minutes off"},
	"DisabledException":           {Slowly, false, "the key is disabled"},
	"KMSInvalidStateException":    {Slowly, false, "the key is in a state that forbids it, pending deletion for example"},
	"NotFoundException":           {Slowly, false, "there is no such key"},

	"InvalidCiphertextException": {Never, false, "the ciphertext was changed, or encrypted with another encryption context than this bundle's"},
	"IncorrectKeyException":      {Never, false, "the ciphertext was encrypted with another key"},
	"InvalidKeyUsageException":   {Never, false, "the key is not one for symmetric encryption"},
	"ValidationException":        {Never, false, "KMS does not accept the request; the attestation document among it must be of a Nitro Enclave and at most five minutes old"},
}

// explain makes the error of an attempt.
func (k *KMS) explain(ctx context.Context, operation string, err error) *KMSError {
	out := &KMSError{Operation: operation, Key: k.key}
	status := 0
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		out.RequestID, status = clip(response.ServiceRequestID()), response.HTTPStatusCode()
	}
	var (
		api         smithy.APIError
		protocol    protocolError
		attest      attestError
		credentials credentialsError
		malformed   *smithy.DeserializationError
	)
	switch {
	case errors.As(err, &credentials):
		out.Retry, out.detail, out.cause = Soon, credentials.Error(), credentials
	case errors.As(err, &attest):
		out.Retry, out.again, out.detail, out.cause = Soon, true, attest.Error(), attest.cause
	case errors.As(err, &protocol):
		out.detail = "KMS answers what it should not: " + protocol.Error()
	case errors.As(err, &api):
		k.explainAnswer(ctx, out, status, api)
	case status >= http.StatusInternalServerError:
		out.Retry, out.again, out.detail = Soon, true, fmt.Sprintf("HTTP status %d", status)
	case errors.As(err, &malformed) && !errors.Is(err, io.ErrUnexpectedEOF):
		// Its text could quote the answer.
		out.detail = fmt.Sprintf("HTTP status %d with a malformed answer", status)
	default:
		out.Retry, out.again, out.cause = Soon, true, sendError(err)
		out.detail = "no answer: " + out.cause.Error()
	}
	return out
}

// explainAnswer fills in what AWS answered.
func (k *KMS) explainAnswer(ctx context.Context, out *KMSError, status int, api smithy.APIError) {
	out.Code = clip(api.ErrorCode())
	known, found := codes[out.Code]
	out.Retry, out.again, out.detail = known.retry, known.again, known.detail
	switch {
	case out.Code == accessDenied:
		out.detail = k.refusal(ctx, api.ErrorMessage())
	case !found && (status >= http.StatusInternalServerError || status == http.StatusTooManyRequests):
		out.Retry, out.again = Soon, true
	}
}

// registerTimeout bounds the reading of registers for a refusal.
const registerTimeout = 2 * time.Second

// refusal says what KMS compared with the key's policy, as it does not say which
// condition failed.
func (k *KMS) refusal(ctx context.Context, message string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), registerTimeout)
	defer cancel()
	var shown []string
	for _, index := range []int{0, 1, 2, 16} {
		register, err := k.module.DescribePCR(ctx, index)
		switch {
		case err != nil:
			shown = append(shown, fmt.Sprintf("PCR%d unreadable", index))
		case !register.Locked:
			shown = append(shown, fmt.Sprintf("PCR%d not locked, so not attested", index))
		default:
			shown = append(shown, fmt.Sprintf("PCR%d %x", index, register.Value))
		}
	}
	return fmt.Sprintf("%q; this enclave shows %s; compare them with the key's policy: `verify policy` checks it against PCRS.md",
		printable(message), strings.Join(shown, ", "))
}

// printable clips a message and leaves out what is not plain text.
func printable(s string) string {
	return clip(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s))
}

// sendError takes the SDK's wrapping off a request that was not answered.
func sendError(err error) error {
	var send *smithyhttp.RequestSendError
	if errors.As(err, &send) {
		return send.Err
	}
	return err
}

// clip shortens what an error quotes.
func clip(s string) string {
	const limit = 256
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
