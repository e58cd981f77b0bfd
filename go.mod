module holdfast

go 1.26.0

toolchain go1.26.8

// staticcheck is part of `make check`.
tool honnef.co/go/tools/cmd/staticcheck

require (
	github.com/ProtonMail/go-crypto v1.3.0 // signatures of Debian's package indices (image lock update)
	github.com/fxamacker/cbor/v2 v2.9.0 // what hf/nsm speaks; the clock reads the module's documents with it; documents of the fake NSM; a second CBOR encoder in tests
	github.com/hf/nitrite v0.0.0-20241225144000-c2d5d3c4f303 // second opinion on every accepted document
	github.com/hf/nsm v0.0.0-20220930140112-cd181bd646b9 // the security module's requests and answers
	github.com/mdlayher/vsock v1.3.0 // net.Conn and net.Listener over vsock
	github.com/rogpeppe/go-internal v1.16.0 // testscript; tests only
	github.com/supranational/blst v0.3.17 // BLS12-381
	github.com/xi2/xz v0.0.0-20171230120015-48954b6210f8 // Debian's packages and indices are xz
	golang.org/x/crypto v0.55.0 // scrypt of EIP-2335 keystores; Keccak of EIP-55 addresses; SSH identities
	golang.org/x/mod v0.39.0 // go.mod's toolchain line, module hashes, semantic versions
	golang.org/x/sync v0.22.0 // bounded parallelism: errgroup, semaphore
	golang.org/x/sys v0.47.0 // namespaces, mounts, vsock, PTP, locks: what syscall lacks
	golang.org/x/term v0.45.0 // is the output a terminal; passwords without an echo
	golang.org/x/text v0.41.0 // NFKD of keystore passwords (EIP-2335) and mnemonics (BIP-39)
)

require (
	filippo.io/age v1.3.2 // the holder's identity: opens a bundle's data key, keeps keys at rest
	github.com/aws/aws-sdk-go-v2 v1.47.7 // requests and signatures of AWS
	github.com/aws/aws-sdk-go-v2/config v1.33.15 // the key holder's and the parent's AWS configuration; never in the enclave
	github.com/aws/aws-sdk-go-v2/credentials v1.20.15 // static credentials in the enclave, the role's on the parent
	github.com/aws/aws-sdk-go-v2/feature/ec2/imds v1.20.7 // the instance role's credentials (IMDSv2)
	github.com/aws/aws-sdk-go-v2/service/dynamodb v1.73.1 // slashing records, the predecessor's tables
	github.com/aws/aws-sdk-go-v2/service/kms v1.62.4 // Decrypt and GenerateDataKey with Recipient; keys seal encrypts
	github.com/aws/aws-sdk-go-v2/service/s3 v1.114.8 // bundles from S3; parent only
	github.com/aws/aws-sdk-go-v2/service/sts v1.51.8 // a session in place of an IAM user's own credentials; parent only
	github.com/aws/smithy-go v1.28.8 // the AWS SDK's errors and middleware
	github.com/johannesboyne/gofakes3 v1.2.0 // a local S3; tests only
	github.com/tyler-smith/go-bip39 v1.1.0 // mnemonics of keys generate; never in the enclave
	software.sslmate.com/src/go-pkcs12 v0.7.4 // client identities for validator clients, the predecessor's TLS keystores, Java trust stores
)

require (
	filippo.io/edwards25519 v1.2.0 // indirect
	filippo.io/hpke v0.4.0 // indirect
	github.com/BurntSushi/toml v1.4.1-0.20240526193622-a339e1f7089c // indirect
	github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream v1.7.26 // indirect
	github.com/aws/aws-sdk-go-v2/internal/configsources v1.5.10 // indirect
	github.com/aws/aws-sdk-go-v2/internal/endpoints/v2 v2.8.10 // indirect
	github.com/aws/aws-sdk-go-v2/internal/v4a v1.5.10 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/accept-encoding v1.13.24 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/checksum v1.11.11 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/endpoint-discovery v1.13.10 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/presigned-url v1.14.10 // indirect
	github.com/aws/aws-sdk-go-v2/service/internal/s3shared v1.20.10 // indirect
	github.com/aws/aws-sdk-go-v2/service/signin v1.12.3 // indirect
	github.com/aws/aws-sdk-go-v2/service/sso v1.39.3 // indirect
	github.com/aws/aws-sdk-go-v2/service/ssooidc v1.44.3 // indirect
	github.com/cloudflare/circl v1.6.0 // indirect
	github.com/mdlayher/socket v0.6.0 // indirect
	github.com/ryszard/goskiplist v0.0.0-20150312221310-2dfbae5fcf46 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	go.shabbyrobe.org/gocovmerge v0.0.0-20230507111327-fa4f82cfbf4d // indirect
	golang.org/x/exp/typeparams v0.0.0-20231108232855-2478ac86f678 // indirect
	golang.org/x/net v0.58.0 // indirect
	golang.org/x/tools v0.49.0 // indirect
	honnef.co/go/tools v0.7.0 // indirect
)
