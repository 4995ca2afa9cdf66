// Lets the scenes of a linked figure follow the one that is dragged.
const figure = document.getElementById('{plot_id}');
const scenes = Object.keys(figure.layout).filter(name => /^scene\d*$/.test(name));
const one = event => scenes.find(scene => event[scene + '.camera'] || event[scene + '.aspectratio']);
figure.on('plotly_relayouting', event => {  // while dragging: move the others' cameras, leave the dragged one alone
  const dragged = one(event), full = figure._fullLayout;
  const camera = dragged && event[dragged + '.camera'];
  if (camera) for (const scene of scenes) {
    if (scene !== dragged) full[scene]._scene?.setViewport?.({camera, aspectratio: full[scene].aspectratio});
  }
});
figure.on('plotly_relayout', event => {  // dropped, or zoomed
  const moved = one(event);
  if (!moved || scenes.some(scene => scene !== moved && event[scene + '.camera'])) return;  // our own, or the slider's
  const {camera, aspectratio: {x, y, z}} = figure._fullLayout[moved], change = {};
  for (const scene of scenes) if (scene !== moved) {
    change[scene + '.camera'] = event[moved + '.camera'] || camera;
    change[scene + '.aspectratio'] = {x, y, z};
  }
  Plotly.relayout(figure, change);
});
