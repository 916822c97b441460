/*
 * certificates: X.509 by OpenSSL's own calls, one function from specification to files.
 */
#include "tests/unit/library/files.h"
#include "tests/unit/library/certificates.h"
#include "common/base/log.h"
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY_S (24L * 3600)

const char *certificate_path(const char *directory, const char *label, const char *suffix)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];

    (void)snprintf(path, sizeof(paths[0]), "%s/%s.%s", directory, label, suffix);
    return path;
}

static EVP_PKEY *read_key(const char *directory, const char *label)
{
    FILE *in = fopen(certificate_path(directory, label, "key"), "r");
    EVP_PKEY *key = in ? PEM_read_PrivateKey(in, NULL, NULL, NULL) : NULL;

    ASSERT(key && fclose(in) == 0);
    return key;
}

static X509 *read_certificate(const char *directory, const char *label)
{
    FILE *in = fopen(certificate_path(directory, label, "pem"), "r");
    X509 *certificate = in ? PEM_read_X509(in, NULL, NULL, NULL) : NULL;

    ASSERT(certificate && fclose(in) == 0);
    return certificate;
}

static void add_extension(X509 *certificate, X509 *issuer, int kind, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    ASSERT(extension && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

static void write_files(const char *directory, const char *label, X509 *certificate, EVP_PKEY *key)
{
    FILE *out = fopen(certificate_path(directory, label, "pem"), "w");

    ASSERT(out && PEM_write_X509(out, certificate) == 1 && fclose(out) == 0);
    out = fopen(certificate_path(directory, label, "key"), "w");
    ASSERT(out && fchmod(fileno(out), 0600) == 0);
    ASSERT(PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(out) == 0);
}

void certificate_make(const char *directory, const char *label, const struct certificate_spec *spec)
{
    const char *name = spec->name ? spec->name : "localhost";
    bool days = spec->from_days != 0 || spec->until_days != 0;
    EVP_PKEY *key = spec->rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    EVP_PKEY *signer = spec->issuer ? read_key(directory, spec->issuer) : key;
    X509 *certificate = X509_new(), *issuer;
    char names[512];
    static int serial;

    ASSERT(key && certificate);
    issuer = spec->issuer ? read_certificate(directory, spec->issuer) : certificate;
    ASSERT(X509_set_version(certificate, X509_VERSION_3) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), (long)getpid() * 1000 + ++serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), (days ? spec->from_days : -1) * DAY_S);
    X509_gmtime_adj(X509_getm_notAfter(certificate), (days ? spec->until_days : 30) * DAY_S);
    ASSERT(X509_set_pubkey(certificate, key) == 1);
    ASSERT(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                                      (const unsigned char *)name, -1, -1, 0) == 1);
    ASSERT(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1);
    (void)snprintf(names, sizeof(names), "DNS:%s%s%s", name, spec->addresses ? "," : "",
                   spec->addresses ? spec->addresses : "");
    if (!spec->authority)
        add_extension(certificate, issuer, NID_subject_alt_name, names);
    add_extension(certificate, issuer, NID_basic_constraints,
                  spec->authority ? "critical,CA:TRUE" : "CA:FALSE");
    add_extension(certificate, issuer, NID_subject_key_identifier, "hash");
    ASSERT(X509_sign(certificate, signer, EVP_sha256()) > 0);
    write_files(directory, label, certificate, key);
    if (spec->issuer) {
        X509_free(issuer);
        EVP_PKEY_free(signer);
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
}

char *certificates_directory(void)
{
    char *path = strdup("/tmp/reel-certificates.XXXXXX");

    ASSERT(path && mkdtemp(path));
    return path;
}

void certificates_remove(char *directory)
{
    remove_tree(directory);
    free(directory);
}
