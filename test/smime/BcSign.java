// BcSign: signs with BouncyCastle as mail programs do. One order per line of the file named first, fields separated by tabs:
// CONTENT, KEY.pem (PKCS#8), CERTIFICATE.pem of the signer, further certificates (comma between), ALGORITHM, traits (comma between), OUT.
// Traits: opaque, stream, der, skid, noattr, bare, capabilities, issuer=CERT, ski=CERT, recipient=CERT, microsoft=CERT, ess1=CERT, ess2=CERT.
import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.security.KeyFactory;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import org.bouncycastle.asn1.ASN1Encodable;
import org.bouncycastle.asn1.ASN1EncodableVector;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.DEROctetString;
import org.bouncycastle.asn1.DERSet;
import org.bouncycastle.asn1.cms.Attribute;
import org.bouncycastle.asn1.cms.AttributeTable;
import org.bouncycastle.asn1.cms.IssuerAndSerialNumber;
import org.bouncycastle.asn1.cms.RecipientKeyIdentifier;
import org.bouncycastle.asn1.ess.ESSCertID;
import org.bouncycastle.asn1.ess.ESSCertIDv2;
import org.bouncycastle.asn1.ess.SigningCertificate;
import org.bouncycastle.asn1.ess.SigningCertificateV2;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.smime.SMIMECapabilitiesAttribute;
import org.bouncycastle.asn1.smime.SMIMECapability;
import org.bouncycastle.asn1.smime.SMIMECapabilityVector;
import org.bouncycastle.asn1.smime.SMIMEEncryptionKeyPreferenceAttribute;
import org.bouncycastle.cert.jcajce.JcaCertStore;
import org.bouncycastle.cert.jcajce.JcaX509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509ExtensionUtils;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedDataGenerator;
import org.bouncycastle.cms.CMSSignedDataStreamGenerator;
import org.bouncycastle.cms.DefaultSignedAttributeTableGenerator;
import org.bouncycastle.cms.SignerInfoGenerator;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoGeneratorBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

public class BcSign {
  public static void main(String[] args) throws Exception {
    Security.addProvider(new BouncyCastleProvider());
    for (String line : Files.readAllLines(Paths.get(args[0]))) {
      String[] order = line.split("\t", -1);
      byte[] content = Files.readAllBytes(Paths.get(order[0]));
      Files.write(Paths.get(order[6]), sign(content, order[1], order[2], order[3], order[4], Arrays.asList(order[5].split(","))));
    }
  }

  private static byte[] sign(byte[] content, String key, String signer, String others, String algorithm, List<String> traits)
      throws Exception {
    X509Certificate certificate = certificate(signer);
    JcaSimpleSignerInfoGeneratorBuilder builder = new JcaSimpleSignerInfoGeneratorBuilder().setProvider("BC");
    builder.setDirectSignature(traits.contains("noattr"));
    if (!traits.contains("noattr")) builder.setSignedAttributeGenerator(new DefaultSignedAttributeTableGenerator(attributes(traits)));
    PrivateKey privateKey = privateKey(key, certificate.getPublicKey().getAlgorithm());
    byte[] identifier = new JcaX509ExtensionUtils().createSubjectKeyIdentifier(certificate.getPublicKey()).getKeyIdentifier();
    SignerInfoGenerator generator =
        traits.contains("skid") ? builder.build(algorithm, privateKey, identifier) : builder.build(algorithm, privateKey, certificate);
    List<X509Certificate> bag = new ArrayList<>();
    if (!traits.contains("bare")) bag.add(certificate);
    for (String other : others.split(",")) if (!other.isEmpty()) bag.add(certificate(other));
    if (traits.contains("stream")) {
      CMSSignedDataStreamGenerator stream = new CMSSignedDataStreamGenerator();
      stream.setBufferSize(1000);
      stream.addSignerInfoGenerator(generator);
      stream.addCertificates(new JcaCertStore(bag));
      ByteArrayOutputStream out = new ByteArrayOutputStream();
      try (OutputStream in = stream.open(out, traits.contains("opaque"))) {
        in.write(content);
      }
      return out.toByteArray();
    }
    CMSSignedDataGenerator whole = new CMSSignedDataGenerator();
    whole.addSignerInfoGenerator(generator);
    whole.addCertificates(new JcaCertStore(bag));
    return whole.generate(new CMSProcessableByteArray(content), traits.contains("opaque")).toASN1Structure().getEncoded(traits.contains("der") ? "DER" : "BER");
  }

  private static AttributeTable attributes(List<String> traits) throws Exception {
    ASN1EncodableVector attributes = new ASN1EncodableVector();
    if (traits.contains("capabilities")) {
      SMIMECapabilityVector capabilities = new SMIMECapabilityVector();
      capabilities.addCapability(SMIMECapability.aES256_CBC);
      capabilities.addCapability(SMIMECapability.aES128_CBC);
      capabilities.addCapability(SMIMECapability.rC2_CBC, 128);
      if (traits.contains("gcm")) capabilities.addCapability(new ASN1ObjectIdentifier("2.16.840.1.101.3.4.1.46"));
      attributes.add(new SMIMECapabilitiesAttribute(capabilities));
    }
    for (String trait : traits) {
      if (!trait.contains("=")) continue;
      String path = trait.substring(trait.indexOf('=') + 1);
      X509Certificate named = certificate(path);
      IssuerAndSerialNumber serial = new IssuerAndSerialNumber(new JcaX509CertificateHolder(named).toASN1Structure());
      byte[] identifier = new JcaX509ExtensionUtils().createSubjectKeyIdentifier(named.getPublicKey()).getKeyIdentifier();
      switch (trait.substring(0, trait.indexOf('='))) {
        case "issuer" -> attributes.add(new SMIMEEncryptionKeyPreferenceAttribute(serial));
        case "ski" -> attributes.add(new SMIMEEncryptionKeyPreferenceAttribute(new DEROctetString(identifier)));
        case "recipient" -> attributes.add(new SMIMEEncryptionKeyPreferenceAttribute(new RecipientKeyIdentifier(identifier)));
        case "microsoft" -> attributes.add(attribute(new ASN1ObjectIdentifier("1.3.6.1.4.1.311.16.4"), serial));
        case "ess1" -> attributes.add(
            attribute(PKCSObjectIdentifiers.id_aa_signingCertificate, new SigningCertificate(new ESSCertID(hash("SHA-1", named)))));
        case "ess2" -> attributes.add(
            attribute(PKCSObjectIdentifiers.id_aa_signingCertificateV2, new SigningCertificateV2(new ESSCertIDv2(hash("SHA-256", named)))));
        default -> throw new IllegalArgumentException(trait);
      }
    }
    return new AttributeTable(attributes);
  }

  private static Attribute attribute(ASN1ObjectIdentifier type, ASN1Encodable value) {
    return new Attribute(type, new DERSet(value));
  }

  private static byte[] hash(String digest, X509Certificate certificate) throws Exception {
    return MessageDigest.getInstance(digest).digest(certificate.getEncoded());
  }

  private static X509Certificate certificate(String path) throws Exception {
    try (FileInputStream in = new FileInputStream(path)) {
      return (X509Certificate) CertificateFactory.getInstance("X.509", "BC").generateCertificate(in);
    }
  }

  private static PrivateKey privateKey(String path, String algorithm) throws Exception {
    String base64 = new String(Files.readAllBytes(Paths.get(path)), "US-ASCII").replaceAll("-----[A-Z ]+-----|\\s", "");
    return KeyFactory.getInstance(algorithm, "BC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(base64)));
  }
}
