// BcLoop: decrypts CMS with BouncyCastle in one long-lived JVM. One request per line on stdin: FILE.der <TAB> KEYS.p12 <TAB> PASSWORD <TAB> OUT.
// One answer per line on stdout: "ok <TAB> serial numbers of all readers, hexadecimal, comma between", or "failed <TAB> why".
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Security;
import java.security.cert.X509Certificate;
import java.util.Collections;
import java.util.StringJoiner;
import org.bouncycastle.asn1.cms.CMSObjectIdentifiers;
import org.bouncycastle.asn1.cms.ContentInfo;
import org.bouncycastle.cms.CMSAuthEnvelopedData;
import org.bouncycastle.cms.CMSEnvelopedData;
import org.bouncycastle.cms.KeyAgreeRecipientId;
import org.bouncycastle.cms.KeyTransRecipientId;
import org.bouncycastle.cms.RecipientInformation;
import org.bouncycastle.cms.RecipientInformationStore;
import org.bouncycastle.cms.jcajce.JceKeyAgreeEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyAgreeRecipientId;
import org.bouncycastle.cms.jcajce.JceKeyTransAuthEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransRecipientId;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

public class BcLoop {
  public static void main(String[] args) throws Exception {
    Security.addProvider(new BouncyCastleProvider());
    BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
    for (String line; (line = requests.readLine()) != null; ) {
      String[] request = line.split("\t");
      String answer;
      try {
        answer = "ok\t" + decrypt(request[0], request[1], request[2].toCharArray(), request[3]);
      } catch (Exception e) {
        answer = "failed\t" + e.toString().replaceAll("\\s+", " ");
      }
      System.out.println(answer);
      System.out.flush();
    }
  }

  private static String decrypt(String file, String keys, char[] password, String out) throws Exception {
    KeyStore store = KeyStore.getInstance("PKCS12", "BC");
    try (FileInputStream in = new FileInputStream(keys)) {
      store.load(in, password);
    }
    PrivateKey key = null;
    X509Certificate certificate = null;
    for (String alias : Collections.list(store.aliases())) {
      if (!store.isKeyEntry(alias)) continue;
      key = (PrivateKey) store.getKey(alias, password);
      certificate = (X509Certificate) store.getCertificate(alias);
    }
    byte[] cms = Files.readAllBytes(Paths.get(file));
    boolean isAuthenticated = ContentInfo.getInstance(cms).getContentType().equals(CMSObjectIdentifiers.authEnvelopedData);
    RecipientInformationStore readers =
        isAuthenticated ? new CMSAuthEnvelopedData(cms).getRecipientInfos() : new CMSEnvelopedData(cms).getRecipientInfos();
    RecipientInformation reader =
        key.getAlgorithm().equals("RSA") ? readers.get(new JceKeyTransRecipientId(certificate)) : readers.get(new JceKeyAgreeRecipientId(certificate));
    if (reader == null) throw new IllegalArgumentException("not a reader of this message");
    byte[] content;
    if (!key.getAlgorithm().equals("RSA")) content = reader.getContent(new JceKeyAgreeEnvelopedRecipient(key).setProvider("BC"));
    else if (isAuthenticated) content = reader.getContent(new JceKeyTransAuthEnvelopedRecipient(key).setProvider("BC"));
    else content = reader.getContent(new JceKeyTransEnvelopedRecipient(key).setProvider("BC"));
    Files.write(Paths.get(out), content);
    StringJoiner serials = new StringJoiner(",");
    for (RecipientInformation one : readers.getRecipients()) {
      if (one.getRID() instanceof KeyTransRecipientId) serials.add(((KeyTransRecipientId) one.getRID()).getSerialNumber().toString(16));
      else serials.add(((KeyAgreeRecipientId) one.getRID()).getSerialNumber().toString(16));
    }
    return serials.toString();
  }
}
