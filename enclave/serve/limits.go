package serve

import "time"

// Every bound of the server, with its reason.
const (
	// maxConnections bounds what idle or slow connections cost: some 50 KiB
	// each. Validator clients keep a few dozen open.
	maxConnections = 256

	// headerTimeout bounds the TLS handshake and the reading of a header.
	headerTimeout = 5 * time.Second

	// readTimeout and writeTimeout bound a whole request and its answer. The
	// slowest is a release of a megabyte over a slow link.
	readTimeout  = 30 * time.Second
	writeTimeout = 30 * time.Second

	// idleTimeout is longer than any known client keeps a connection (90
	// seconds), so that it is the client that closes and no request is lost.
	idleTimeout = 150 * time.Second

	// maxHeaderSize is far above what a client sends.
	maxHeaderSize = 16 << 10

	// maxBodySize bounds every body; handlers have lower bounds of their own.
	maxBodySize = 8 << 20

	// maxReleaseSize bounds the body of a release.
	maxReleaseSize = 1 << 20

	// maxAttestations bounds those under way and waiting. The module makes one
	// at a time, in some milliseconds.
	maxAttestations = 16

	// attestationTimeout bounds the wait for a document.
	attestationTimeout = 10 * time.Second

	// shutdownTimeout is how long requests under way may take once the server
	// is told to stop.
	shutdownTimeout = 5 * time.Second
)
