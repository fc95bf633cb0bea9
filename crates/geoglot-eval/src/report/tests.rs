//! Pieces of reports.

use super::markdown::plain;
use super::{escape, slug};

#[test]
fn words_become_safe() {
    assert_eq!(escape("a<b> & \"c\" 'd'"), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;");
    assert_eq!(plain("a|b\n*c* <d> `e`"), "a\\|b \\*c\\* &lt;d\\> \\`e\\`");
    assert_eq!(slug("../LiDAR channels (figure 2)"), "lidar-channels-figure-2");
    assert_eq!(slug("水"), "figure");
}
