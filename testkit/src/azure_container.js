// Makes a container that may be there already: node container.js ENDPOINT ACCOUNT KEY CONTAINER
const { createHmac } = require("node:crypto");

const [endpoint, account, key, container] = process.argv.slice(2);

async function main() {
    const date = new Date().toUTCString();
    const version = "2023-11-03";
    const path = new URL(endpoint).pathname;
    const signed = [
        "PUT", "", "", "", "", "", "", "", "", "", "", "",
        `x-ms-date:${date}`,
        `x-ms-version:${version}`,
        `/${account}${path}/${container}`,
        "restype:container",
    ].join("\n");
    const signature = createHmac("sha256", Buffer.from(key, "base64")).update(signed, "utf8").digest("base64");
    const answer = await fetch(`${endpoint}/${container}?restype=container`, {
        method: "PUT",
        headers: {
            "x-ms-date": date,
            "x-ms-version": version,
            Authorization: `SharedKey ${account}:${signature}`,
        },
    });
    if (answer.status !== 201 && answer.status !== 409) {
        throw new Error(`${answer.status}: ${await answer.text()}`);
    }
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
