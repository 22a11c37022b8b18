// Reads a certificate and a key with Go's crypto/tls, as MDM servers written in Go do, and prints
// the topic and the leaf. A third argument is the passphrase of a key in the old encrypted form.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
)

func main() {
	certificate, err := os.ReadFile(os.Args[1])
	check(err)
	key, err := os.ReadFile(os.Args[2])
	check(err)
	if len(os.Args) > 3 {
		block, _ := pem.Decode(key)
		der, err := x509.DecryptPEMBlock(block, []byte(os.Args[3]))
		check(err)
		_, err = x509.ParsePKCS1PrivateKey(der)
		check(err)
		key = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der})
	}
	pair, err := tls.X509KeyPair(certificate, key)
	check(err)
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	check(err)
	for _, name := range leaf.Subject.Names {
		if name.Type.String() == "0.9.2342.19200300.100.1.1" {
			fmt.Println(name.Value, base64.StdEncoding.EncodeToString(leaf.Raw))
		}
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
