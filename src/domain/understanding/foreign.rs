//! Words of other languages than English that say nothing, so that they do not stand in topics.

use std::{collections::HashSet, sync::LazyLock};

/// Is this a common word of German, French, Spanish, Italian, Portuguese or Dutch (lower case,
/// accents folded)?
pub(super) fn says_nothing(plain: &str) -> bool {
    static LISTED: LazyLock<HashSet<&str>> = LazyLock::new(|| LIST.split_whitespace().collect());
    LISTED.contains(plain)
}

const LIST: &str = "
aber als am auch auf aus bei bin bis bist da dann das dass dein dem den denn der des dich die dies
diese dieser dieses dir doch dort du durch ein eine einem einen einer eines er es euch fur gegen
habe haben hat hatte ich ihm ihn ihr ihre im in ist ja jetzt kann kein keine mal man mehr mein meine
mich mir mit muss nach nicht noch nun nur oder ohne schon sehr sein seine sich sie sind so uber um
und uns unser unter viel vom von vor war waren was weil wenn wer wie wieder wir wird wo zu zum zur
au aux avec ce ces cet cette comme dans de des du elle elles en est et etait ete etre eux il ils je
la le les leur leurs lui ma mais me meme mes moi mon ne nos notre nous on ont ou par pas plus pour
que quel qui sa sans se ses si son sont sur ta te tes toi ton tres tu un une vos votre vous
al algo como con cual cuando del desde donde el ella ellos era eres esa ese eso esta estaba estan
este esto fue ha han hay hoy las lo los mas mi mis mucho muy nada nos nosotros nuestro o otra otro
para pero por porque puede se ser si sin sobre soy su sus tambien tan te tengo tiene todo un una uno
y ya yo
anche che chi ci come con cosa da dal della delle di dove e gli ha ho i il io la le lei lui ma mi
molto ne nel nella noi non o per perche piu quando questa questo sei si sono sta su suo tra tu una
voi
ao aos as com da das dela dele do dos e ela ele em essa esse eu foi isso ja mais mas meu minha na
nao nas no nos o os ou para pela pelo por que quem se sem seu sua tem uma voce
aan bij dat de deze die dit een en er geen had heb heeft het hij hoe ik is je kan maar me met mij
mijn naar niet nog nu of om ons ook op te tot uit van voor wat we wel wij ze zij zijn zo
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_words_are_folded_as_words_are() {
        for word in LIST.split_whitespace() {
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase()), "{word}");
        }
        assert!(says_nothing("nicht") && says_nothing("pour") && !says_nothing("kite"));
    }
}
