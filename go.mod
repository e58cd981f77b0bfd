module holdfast

go 1.26.0

toolchain go1.26.8

// staticcheck is part of `make check`.
tool honnef.co/go/tools/cmd/staticcheck

require (
	github.com/ProtonMail/go-crypto v1.3.0 // signatures of Debian's package indices (image lock update)
	github.com/fxamacker/cbor/v2 v2.9.0 // what hf/nsm speaks; documents of the fake NSM; a second CBOR encoder in tests
	github.com/hf/nitrite v0.0.0-20241225144000-c2d5d3c4f303 // second opinion on every accepted document
	github.com/hf/nsm v0.0.0-20220930140112-cd181bd646b9 // the security module's requests and answers
	github.com/mdlayher/vsock v1.3.0 // net.Conn and net.Listener over vsock
	github.com/rogpeppe/go-internal v1.14.1 // testscript; tests only
	github.com/supranational/blst v0.3.17 // BLS12-381
	github.com/xi2/xz v0.0.0-20171230120015-48954b6210f8 // Debian's packages and indices are xz
	golang.org/x/crypto v0.51.0 // scrypt of EIP-2335 keystores
	golang.org/x/mod v0.36.0 // go.mod's toolchain line, module hashes, semantic versions
	golang.org/x/sync v0.20.0 // bounded parallelism: errgroup, semaphore
	golang.org/x/sys v0.45.0 // namespaces, mounts, vsock, PTP: what syscall lacks
	golang.org/x/term v0.43.0 // is the output a terminal
	golang.org/x/text v0.37.0 // NFKD of keystore passwords (EIP-2335)
)

require (
	github.com/BurntSushi/toml v1.4.1-0.20240526193622-a339e1f7089c // indirect
	github.com/cloudflare/circl v1.6.0 // indirect
	github.com/mdlayher/socket v0.6.0 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	golang.org/x/exp/typeparams v0.0.0-20231108232855-2478ac86f678 // indirect
	golang.org/x/net v0.55.0 // indirect
	golang.org/x/tools v0.44.0 // indirect
	honnef.co/go/tools v0.7.0 // indirect
)
