package keystore_test

import (
	"fmt"
	"testing"

	"holdfast/enclave/ethereum/keystore"
)

// The test cases of EIP-2335. Their password is "testpassword" in mathematical
// Fraktur letters and a key emoji; its normal form has the letters of ASCII.
const (
	vectorPassword = "\U0001d531\U0001d522\U0001d530\U0001d531\U0001d52d\U0001d51e\U0001d530\U0001d530\U0001d534\U0001d52c\U0001d52f\U0001d521\U0001f511"
	vectorPublic   = "0x9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07"

	vectorFile = `{"crypto":{"kdf":%s,
		"checksum":{"function":"sha256","params":{},"message":"%s"},
		"cipher":{"function":"aes-128-ctr","params":{"iv":"264daa3f303d7259501c93d997d84fe6"},"message":"%s"}},
		"pubkey":"9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07",
		"path":"m/12381/60/0/0","version":4}`

	vectorSalt = "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"
)

func TestTheVectorsOfEIP2335Open(t *testing.T) {
	for name, file := range map[string]string{
		"scrypt": fmt.Sprintf(vectorFile,
			`{"function":"scrypt","params":{"dklen":32,"n":262144,"p":1,"r":8,"salt":"`+vectorSalt+`"},"message":""}`,
			"d2217fe5f3e9a1e34581ef8a78f7c9928e436d36dacc5e846690a5581e8ea484",
			"06ae90d55fe0a6e9c5c3bc5b170827b2e5cce3929ed3f116c2811e6366dfe20f"),
		"pbkdf2": fmt.Sprintf(vectorFile,
			`{"function":"pbkdf2","params":{"dklen":32,"c":262144,"prf":"hmac-sha256","salt":"`+vectorSalt+`"},"message":""}`,
			"8a9f5d9912ed7e75ea794bc5a89bca5f193721d30868ade6f73043c6ea6febf1",
			"cee03fde2af33149775b7223e7845e4fb2c8ae1792e5f99fe9ecf474cc8c16ad"),
	} {
		key, err := keystore.NewOpener(300<<20, 1).Open(t.Context(), []byte(file), []byte(vectorPassword))
		if err != nil || key.PublicKey().String() != vectorPublic {
			t.Errorf("%s: got %v, want %s", name, err, vectorPublic)
		}
	}
}
