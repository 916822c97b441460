// strings: every text of the page in both languages, and how numbers, sizes and times are written.

const table = {
  // key: [English, 中文]
  signIn: ["Sign in", "登录"],
  signInWith: ["Token or link", "令牌或链接"],
  signInHelp: ["A token as “reel auth token” prints it, or the link that somebody gave you.", "“reel auth token” 给出的令牌，或别人给您的链接。"],
  stay: ["Stay signed in on this device", "在此设备上保持登录"],
  signOut: ["Sign out", "退出"],
  badToken: ["The token is not valid, or has expired.", "令牌无效或已过期。"],
  sessionEnded: ["Your session has ended. Sign in again; unfinished uploads go on where they are.", "会话已结束。请重新登录，未完成的上传会接着进行。"],
  files: ["Files", "文件"],
  trash: ["Trash", "回收站"],
  operators: ["Operators", "运维"],
  language: ["Language", "语言"],
  skip: ["Skip to the list", "跳到列表"],
  search: ["Search by name", "按名称搜索"],
  sortBy: ["Sort by", "排序"],
  newest: ["Newest first", "最新优先"],
  oldest: ["Oldest first", "最旧优先"],
  nameUp: ["Name, A to Z", "名称升序"],
  nameDown: ["Name, Z to A", "名称降序"],
  largest: ["Largest first", "最大优先"],
  smallest: ["Smallest first", "最小优先"],
  upload: ["Upload", "上传"],
  dropHere: ["Drop files here to upload them", "把文件拖到这里上传"],
  noFiles: ["There are no files yet.", "还没有文件。"],
  noTrash: ["The trash is empty.", "回收站是空的。"],
  nothingFound: ["No file has “{query}” in its name.", "没有名称含“{query}”的文件。"],
  count: ["{count} files, {size}", "{count} 个文件，{size}"],
  quota: ["{used} of {all} used", "已用 {used}，共 {all}"],
  page: ["Page {page}", "第 {page} 页"],
  previous: ["Previous", "上一页"],
  next: ["Next", "下一页"],
  pages: ["Pages", "分页"],
  play: ["Play {name}", "播放 {name}"],
  show: ["Show {name}", "查看 {name}"],
  share: ["Share", "分享"],
  download: ["Download", "下载"],
  remove: ["Delete", "删除"],
  restore: ["Restore", "恢复"],
  actionsOf: ["Actions for {name}", "{name} 的操作"],
  removeAsk: ["Move “{name}” to the trash?", "将“{name}”移到回收站？"],
  removeHelp: ["It can be restored from there until the trash is emptied.", "在回收站清空之前可以恢复。"],
  cancel: ["Cancel", "取消"],
  close: ["Close", "关闭"],
  removed: ["“{name}” is in the trash.", "“{name}”已在回收站。"],
  restored: ["“{name}” is restored.", "“{name}”已恢复。"],
  deletedOn: ["deleted {date}", "删除于 {date}"],
  expiresOn: ["expires {date}", "{date} 到期"],
  shareTitle: ["Share “{name}”", "分享“{name}”"],
  shareHelp: ["Whoever has the link can see this file, and nothing else.", "拥有链接的人只能看到此文件。"],
  validFor: ["Valid for", "有效期"],
  hour: ["1 hour", "1 小时"],
  day: ["1 day", "1 天"],
  week: ["7 days", "7 天"],
  month: ["30 days", "30 天"],
  year: ["1 year", "1 年"],
  makeLink: ["Create link", "生成链接"],
  link: ["Link", "链接"],
  copy: ["Copy", "复制"],
  copied: ["The link is copied.", "链接已复制。"],
  linkUntil: ["Valid until {date}", "有效至 {date}"],
  linkForever: ["This server gives files to everybody who knows their address; the link does not expire.", "此服务器向知道地址的任何人提供文件；链接不会过期。"],
  uploads: ["Uploads", "上传列表"],
  waiting: ["waiting", "等待中"],
  uploading: ["{done} of {size}", "{done} / {size}"],
  paused: ["paused at {percent} %", "已暂停，{percent} %"],
  pause: ["Pause", "暂停"],
  resume: ["Resume", "继续"],
  dismiss: ["Dismiss", "移除"],
  retrying: ["no connection; trying again", "连接中断，正在重试"],
  uploaded: ["“{name}” is uploaded.", "“{name}”已上传。"],
  done: ["done", "完成"],
  failed: ["failed: {reason}", "失败：{reason}"],
  unfinished: ["unfinished; choose the same file again to go on", "未完成；再次选择同一文件即可继续"],
  elsewhere: ["another tab is uploading this file", "另一个标签页正在上传此文件"],
  signedInAs: ["You are signed in as {user}.", "您已以 {user} 的身份登录。"],
  discard: ["Discard", "丢弃"],
  tooLarge: ["larger than this server takes ({size})", "超过服务器上限（{size}）"],
  speed: ["Speed", "速度"],
  subtitles: ["Subtitles", "字幕"],
  off: ["Off", "关"],
  keys: ["Keys: space plays and pauses, arrows seek and change the volume, J and L jump 10 seconds, F full screen, M mute, < and > speed, C subtitles, Esc closes.", "按键：空格播放/暂停，方向键快进和调音量，J/L 跳 10 秒，F 全屏，M 静音，< > 调速，C 字幕，Esc 关闭。"],
  cannotPlay: ["This browser cannot play the file. It can be downloaded.", "此浏览器无法播放该文件，可以下载。"],
  noServer: ["The server cannot be reached.", "无法连接服务器。"],
  status: ["State of the installation", "系统状态"],
  live: ["Live; every two seconds", "实时，每两秒刷新"],
  group: ["Group", "组"],
  state: ["State", "状态"],
  member: ["Member", "成员"],
  version: ["Version", "版本"],
  used: ["Used", "已用"],
  free: ["Free", "可用"],
  trashSpace: ["Trash", "回收站"],
  damaged: ["Damaged files", "损坏的文件"],
  uploadsNow: ["Uploads", "上传"],
  requestsPerSecond: ["Requests per second", "每秒请求"],
  connections: ["Connections", "连接"],
  silent: ["Last heard", "上次心跳"],
  thisServer: ["This HTTP server", "本 HTTP 服务器"],
  uploadsPerSecond: ["Uploads per second", "每秒上传"],
  received: ["Received per second", "每秒接收"],
  sent: ["Sent per second", "每秒发送"],
  errorsPerSecond: ["Errors (5xx) per second", "每秒错误（5xx）"],
  errorsTotal: ["Errors (5xx) since start", "启动以来错误（5xx）"],
  cut: ["Answers cut off", "中断的应答"],
  failovers: ["Failovers", "故障切换"],
  refused: ["Connections refused", "拒绝的连接"],
  active: ["{active} of {all} active", "{active} / {all} 活动"],
  notOperator: ["This token does not show the state of the installation (web_operators).", "此令牌无权查看系统状态（web_operators）。"],
  secondsAgo: ["{seconds} s ago", "{seconds} 秒前"],
  never: ["never", "从未"],
};

const LANGUAGES = {en: "English", zh: "中文"};
let language = "en";

function stored() {
  try {
    return localStorage.getItem("reel-language");
  } catch {
    return null;
  }
}

export function chooseLanguage(wanted) {
  const chosen = wanted || stored() || (navigator.language || "en").slice(0, 2);
  language = chosen === "zh" ? "zh" : "en";
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  if (wanted) try { localStorage.setItem("reel-language", wanted); } catch { /* private mode */ }
  return language;
}
export const languages = LANGUAGES;
export const currentLanguage = () => language;

export function t(key, values = {}) {
  const text = table[key][language === "zh" ? 1 : 0];
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes, unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${new Intl.NumberFormat(document.documentElement.lang, {maximumFractionDigits: unit === 0 ? 0 : 1}).format(value)} ${units[unit]}`;
}

export const number = (value) => new Intl.NumberFormat(document.documentElement.lang, {maximumFractionDigits: 1}).format(value);

export function date(seconds) {
  return new Intl.DateTimeFormat(document.documentElement.lang, {dateStyle: "medium", timeStyle: "short"}).format(new Date(seconds * 1000));
}

export function duration(seconds) {
  const whole = Math.round(seconds), two = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
