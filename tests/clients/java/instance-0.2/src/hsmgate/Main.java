package hsmgate;

import com.aliyun.dkms.gcs.sdk.Client;
import com.aliyun.dkms.gcs.sdk.models.HmacRequest;
import java.nio.file.Files;
import java.nio.file.Path;

/** The instance SDK of the first generation, which Nacos brings along, with its transfer client. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws Exception {
        Steps steps = new Steps();
        Gateway plain = Gateway.named("HSMGATE_DEV_JSON");
        Gateway secured = Gateway.named("HSMGATE_TLS_DEV_JSON");

        PublicApi kms = new PublicApi(plain);
        Client client = Instance.client(plain, kms.newClientKey("[\"key/*\"]"));
        new Instance(steps, "http-", client, kms, plain).all();
        steps.step("http-says-that-it-has-no-hmac", () -> {
            HmacRequest request = new HmacRequest();
            request.setKeyId(plain.get("key_id"));
            request.setMessage(Instance.MESSAGE);
            Instance.refused("InvalidApiName", 400, () -> client.hmac(request));
        });
        Transfer.steps(steps, "http-", kms, plain);

        PublicApi securedKms = new PublicApi(secured);
        steps.step("https-takes-the-files-of-the-command-line", () -> {
            Client ofFiles = new Client(Instance.config(secured)
                    .setClientKeyFile(secured.get("client_key_file"))
                    .setPassword(Files.readString(Path.of(secured.get("client_key_password_file")))));
            com.aliyun.dkms.gcs.sdk.models.GenerateRandomRequest request =
                    new com.aliyun.dkms.gcs.sdk.models.GenerateRandomRequest();
            request.setLength(16);
            Steps.equal(16, ofFiles.generateRandom(request).getRandom().length);
        });
        new Instance(steps, "https-", Instance.client(secured, securedKms.newClientKey("[\"key/*\"]")),
                securedKms, secured).all();
        Transfer.steps(steps, "https-", securedKms, secured);
        steps.finish();
    }
}
