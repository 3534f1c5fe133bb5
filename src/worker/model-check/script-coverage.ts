/** How much of each script a model's vocabulary covers, measured with one sample text per script. */
import type { ModelReport } from '../../shared/contract/model-report.ts';
import { unknownShare } from '../inference/readability.ts';
import type { TextTokenizer } from '../inference/tokenizer.ts';

/** About twelve words each, so that no script is judged by one word. Emoji stand apart: a word with one is unknown as a whole. */
const SAMPLES: Readonly<Record<string, string>> = {
  emoji: '😀 😡 😭 😍 👍 👎 🎉 🔥 💔 🙏 ❤️ 👩‍🚀',
  'Latin with accents': 'Das Frühstück war köstlich, très agréable, señor, příště už ne, żółte łóżko.',
  Cyrillic: 'Гостиница была ужасная, но завтрак нам понравился, и мы вернёмся сюда ещё раз.',
  Greek: 'Το ξενοδοχείο ήταν άσχημο, αλλά το πρωινό μας άρεσε και θα ξαναέρθουμε.',
  Arabic: 'كان الفندق سيئا جدا، لكن الإفطار أعجبنا وسنعود إليه مرة أخرى.',
  Hebrew: 'המלון היה גרוע מאוד, אבל ארוחת הבוקר הייתה טעימה ונחזור אליו שוב.',
  Devanagari: 'होटल बहुत खराब था, लेकिन नाश्ता हमें पसंद आया और हम फिर आएँगे।',
  Chinese: '酒店非常糟糕，但是我们喜欢那里的早餐，下次还会再来。',
  Japanese: 'ホテルはとてもひどかったが、朝食は美味しかったので、また来ます。',
  Korean: '호텔은 정말 끔찍했지만 아침 식사는 맛있어서 다시 올 거예요.',
  Thai: 'โรงแรมแย่มาก แต่อาหารเช้าอร่อย และเราจะกลับมาอีก',
};

/** @param tokenizer of the model */
export function coverageOf(
  tokenizer: Pick<TextTokenizer, 'encodeNow'>,
): NonNullable<ModelReport['vocabulary']> {
  return Object.entries(SAMPLES).map(([script, sample]) => {
    const encoded = tokenizer.encodeNow(sample);
    // The vocabulary alone: the report names the model's languages beside it.
    return { script, tokens: encoded.own, unknown: unknownShare({ ...encoded, foreign: 0 }) };
  });
}
