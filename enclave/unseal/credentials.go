package unseal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"holdfast/enclave/secret"
)

// ErrCredentials is the error of a call to AWS without credentials that are
// valid now.
var ErrCredentials = errors.New("no valid AWS credentials")

// A credentialsError is [ErrCredentials] with its reason.
type credentialsError string

func (e credentialsError) Error() string        { return ErrCredentials.Error() + ": " + string(e) }
func (e credentialsError) Is(target error) bool { return target == ErrCredentials }

// What temporary credentials are made of (AWS STS API reference, Credentials).
// STS gives session tokens no maximum; they have some 1,000 bytes. They go into
// headers, so a character that a header cannot hold is refused.
var (
	accessKeyID     = regexp.MustCompile(`^[A-Z0-9]{16,128}$`)
	secretAccessKey = regexp.MustCompile(`^[A-Za-z0-9+/=]{16,128}$`)
	sessionToken    = regexp.MustCompile(`^[A-Za-z0-9+/=_.~-]{16,8192}$`)
)

// maxLifetime is the longest that STS gives to any session.
const maxLifetime = 36 * time.Hour

// Credentials holds the temporary credentials of the parent's role, which the
// parent brings and renews. They are no secret of the enclave's and are not
// trusted: they name the role that asks, and the key policy asks for the
// enclave's measurements besides. They are never shown. Make one with
// [NewCredentials]; any number of goroutines may use it.
type Credentials struct {
	clock func() time.Time

	mu sync.RWMutex
	// A function, because fmt reaches into unexported fields of an enclosing
	// structure; see [secret.Bytes].
	current func() aws.Credentials
}

var (
	_ aws.CredentialsProvider = (*Credentials)(nil)
	_ fmt.Formatter           = (*Credentials)(nil)
	_ slog.LogValuer          = (*Credentials)(nil)
)

// NewCredentials makes an empty holder that judges expiry by clock.
func NewCredentials(clock func() time.Time) *Credentials { return &Credentials{clock: clock} }

// Set replaces the credentials. Those of another form, without a session token,
// or whose expiration has passed or is more than 36 hours away, are refused and
// leave the old ones in place. No error quotes them.
func (c *Credentials) Set(id, key, token string, expiration time.Time) error {
	for _, part := range []struct {
		name, value, want string
		form              *regexp.Regexp
	}{
		{"access key id", id, "16 to 128 capital letters and digits", accessKeyID},
		{"secret access key", key, "16 to 128 characters of base64", secretAccessKey},
		{"session token", token, "16 to 8192 characters of base64", sessionToken},
	} {
		if !part.form.MatchString(part.value) {
			return fmt.Errorf("credentials: %s: got %d bytes, want %s", part.name, len(part.value), part.want)
		}
	}
	now := c.clock()
	if !expiration.After(now) || expiration.After(now.Add(maxLifetime)) {
		return fmt.Errorf("credentials: got expiration %s, want one within %v of %s", stamp(expiration), maxLifetime, stamp(now))
	}
	credentials := aws.Credentials{
		AccessKeyID: id, SecretAccessKey: key, SessionToken: token,
		Source: "parent", CanExpire: true, Expires: expiration.UTC(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = func() aws.Credentials { return credentials }
	return nil
}

// Retrieve returns the credentials, or an error that is [ErrCredentials] where
// there are none or they have expired.
func (c *Credentials) Retrieve(context.Context) (aws.Credentials, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.current == nil {
		return aws.Credentials{}, credentialsError("the parent has not brought any")
	}
	credentials := c.current()
	if now := c.clock(); !now.Before(credentials.Expires) {
		return aws.Credentials{}, credentialsError(fmt.Sprintf("they expired at %s and it is %s: the parent has not refreshed them",
			stamp(credentials.Expires), stamp(now)))
	}
	return credentials, nil
}

// Expiration returns when the credentials expire, and false where there are none.
func (c *Credentials) Expiration() (time.Time, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.current == nil {
		return time.Time{}, false
	}
	return c.current().Expires, true
}

// Format writes [secret.Redacted] whatever the verb.
func (*Credentials) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(secret.Redacted)) }

// LogValue returns [secret.Redacted].
func (*Credentials) LogValue() slog.Value { return slog.StringValue(secret.Redacted) }

// String returns [secret.Redacted].
func (*Credentials) String() string { return secret.Redacted }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
