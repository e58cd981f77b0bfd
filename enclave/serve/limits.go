package serve

import "time"

// Every bound of the server, with its reason. They fit an enclave of 256 MB: some
// 25 MB of connections, 32 MB of bodies and 64 MB of work on them beside the keys.
const (
	// defaultConnections bounds what idle or slow connections cost: some 50 KiB
	// each. A validator client that speaks HTTP/1.1 opens one for each duty that
	// it has at once.
	defaultConnections = 512

	// spareConnections are accepted beyond that, to be told so and closed. Yet
	// further ones wait in the kernel's queue.
	spareConnections = 32

	// defaultInFlight and defaultInFlightPerClient bound the requests between
	// their header and their answer. One client leaves room for the others.
	defaultInFlight          = 1024
	defaultInFlightPerClient = 512

	// maxUnknown bounds those of whoever is no client. There is little to ask.
	maxUnknown = 64

	// maxStreams bounds the requests on one HTTP/2 connection.
	maxStreams = 128

	// streamBuffer and connectionBuffer bound what HTTP/2 holds of bodies that
	// nobody has read yet: RFC 9113's initial window, and four of them.
	streamBuffer     = 1 << 16
	connectionBuffer = 1 << 18

	// headerTimeout bounds the TLS handshake and the reading of a header.
	headerTimeout = 5 * time.Second

	// bodyTimeout bounds the reading of a body. The largest of a duty is two
	// megabytes, most have some hundred bytes.
	bodyTimeout = 10 * time.Second

	// readTimeout and writeTimeout bound a whole request and its answer. The
	// slowest is an import of many keystores over a slow link.
	readTimeout  = 60 * time.Second
	writeTimeout = 60 * time.Second

	// keysTimeout bounds an answer that waits for keystores to open, which take
	// a second each by design, or for a bundle's store to be read.
	keysTimeout = 15 * time.Minute

	// idleTimeout is longer than any known client keeps a connection (90
	// seconds), so that it is the client that closes and no request is lost.
	idleTimeout = 150 * time.Second

	// pingAfter finds an HTTP/2 peer that is gone.
	pingAfter = 30 * time.Second

	// maxHeaderSize is far above what a client sends.
	maxHeaderSize = 16 << 10

	// maxBodySize bounds every body; handlers have lower bounds of their own. An
	// import of 10,000 keystores takes 8 MB.
	maxBodySize = 8 << 20

	// readAhead is the most that is set aside for a body on its sender's word,
	// and unknownSize what is for one of no said length.
	readAhead   = 16 << 10
	unknownSize = 1 << 10

	// maxBodies bounds the bytes of all bodies that are held.
	maxBodies = 32 << 20

	// maxWork bounds the memory of handlers at work, as far as it grows with
	// their bodies: workPerByte for each byte of one, but never more than
	// maxWorkPerBody and two copies. JSON of [0,0,…] is the worst case. Those
	// for whom there is no room wait, up to workTimeout.
	maxWork        = 64 << 20
	workPerByte    = 64
	maxWorkPerBody = 12 << 20
	workTimeout    = 10 * time.Second

	// maxAttestations bounds those under way and waiting. The module makes one
	// at a time, in some milliseconds.
	maxAttestations = 16

	// attestationTimeout bounds the wait for a document.
	attestationTimeout = 10 * time.Second

	// shutdownTimeout is how long requests under way may take once the server
	// is told to stop.
	shutdownTimeout = 5 * time.Second

	// reportInterval is the least time between two lines of the log about one
	// reason to refuse, which whoever connects could otherwise fill.
	reportInterval = 10 * time.Second
)
